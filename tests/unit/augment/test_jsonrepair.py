"""What models write as JSON, and what it means."""

from __future__ import annotations

import json

import pytest

from llm2llm.augment.jsonrepair import repaired


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param(r"3 \times 4", r"3 \times 4", id="a tab and imes"),
        pytest.param(r"\frac{1}{2}\theta\rho\nabla\beta", r"\frac{1}{2}\theta\rho\nabla\beta", id="one after another"),
        pytest.param(r"\\times and \\frac", r"\times and \frac", id="escaped as it should be"),
        pytest.param(r"\\\times", "\\\\times", id="an escaped backslash before a command"),
        pytest.param(r"\$5, 10\%, \(x\), \{a\}", r"\$5, 10\%, \(x\), \{a\}", id="signs that JSON does not escape"),
        pytest.param(
            r"\alpha \sqrt{2} \cdot \underline{x}",
            r"\alpha \sqrt{2} \cdot \underline{x}",
            id="letters that JSON does not escape",
        ),
        pytest.param(r"a\nb\tc\r\nd \"e\" \/ \u00e9", 'a\nb\tc\r\nd "e" / é', id="escapes of JSON"),
        pytest.param(
            r"one\nThe next\tTable\nnothing", "one\nThe next\tTable\nnothing", id="words that are no commands"
        ),
        pytest.param(r"uno\ne due\to", "uno\ne due\to", id="short words where there is no TeX"),
        pytest.param(r"$a \ne b$, $x \to y$", r"$a \ne b$, $x \to y$", id="the same where there is"),
        pytest.param(r"\u12", r"\u12", id="half a code"),
        pytest.param("[1,] and {,}", "[1,] and {,}", id="commas within a text"),
    ],
)
def test_fault_59_what_models_write_as_json_means_what_they_meant(written: str, meant: str):
    assert json.loads(repaired(f'{{"a": "{written}"}}'), strict=False) == {"a": meant}


@pytest.mark.parametrize("written", ['{"a": [1, 2,], "b": 3 , }', '{"a": [1, 2\n,\n], "b": 3,\n}'])
def test_trailing_commas_mean_nothing(written: str):
    assert json.loads(repaired(written)) == {"a": [1, 2], "b": 3}


@pytest.mark.parametrize(
    "text", ["", "\\", '"\\', '{"a": "b', '"' * 9_999, "\\" * 9_999, '{"a":"' * 9_999, "," * 9_999]
)
def test_whatever_is_no_json_is_left_for_the_parser_to_refuse(text: str):
    assert isinstance(repaired(text), str)


@pytest.mark.parametrize("document", [{"a": 'x\\times \\\\ \n\t" / é \x08'}, {"b": [1, {"c": None}]}])
def test_right_json_stays_as_it_is(document: object):
    assert json.loads(repaired(json.dumps(document))) == document

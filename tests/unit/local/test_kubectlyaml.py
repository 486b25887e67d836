"""Each pair is what kubectl 1.34 makes of the text (`kubectl apply --dry-run=client -o json`)."""

from __future__ import annotations

import pytest

from llm2llm.local.kubectlyaml import load, load_all


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("2e-4", 0.0002, id="a number needs no dot"),
        pytest.param("12:30:45", "12:30:45", id="a time is no number"),
        pytest.param("2026-01-01", "2026-01-01", id="a date is a string"),
        pytest.param("y", True, id="y is a boolean"),
        pytest.param("Off", False, id="off is a boolean"),
        pytest.param("yEs", "yEs", id="not in every spelling"),
        pytest.param("010", 8, id="a zero makes it octal"),
        pytest.param("08", 8.0, id="unless it cannot be"),
        pytest.param("0o17", 15, id="the octal of YAML 1.2"),
        pytest.param("0x1f", 31, id="hexadecimal"),
        pytest.param("1_000", 1000, id="underscores between digits"),
        pytest.param(".5", 0.5, id="a number that begins with a dot"),
        pytest.param("e3", "e3", id="an exponent alone"),
        pytest.param("=", "=", id="an equals sign"),
        pytest.param("~", None, id="null"),
        pytest.param("''", "", id="an empty string"),
        pytest.param("{a: 1, a: 2}", {"a": 2}, id="of two values the last one counts"),
        pytest.param("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}, id="a merge"),
    ],
)
def test_a_text_means_what_kubectl_takes_it_for(text: str, value: object):
    assert load(text) == value
    assert type(load(text)) is type(value)


def test_a_file_may_have_several_documents():
    assert list(load_all("a: 1\n---\nb: y\n")) == [{"a": 1}, {"b": True}]

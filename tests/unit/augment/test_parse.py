"""The parser takes what means a row, and nothing else."""

from __future__ import annotations

import pytest

from llm2llm.augment.parse import DraftRow, Unparsable, parse

ROW = DraftRow({"prompt": "a b"}, None)


@pytest.mark.parametrize(
    ("text", "draft"),
    [
        pytest.param('{"prompt": "a b"}', ROW, id="the object alone"),
        pytest.param('Sure!\n```json\n{"prompt": " a b "}\n```\nDone.', ROW, id="in a code fence, with prose"),
        pytest.param('{"examples": [{"prompt": "a b"}]}', ROW, id="in a list in an object"),
        pytest.param('[{"prompt": "a b"}, {"prompt": "c"}]', ROW, id="the first of a list"),
        pytest.param('{"example": {"prompt": "a b"}}', ROW, id="in one more object"),
        pytest.param('I use {braces} freely: {"prompt": "a b"}', ROW, id="after braces that are no JSON"),
        pytest.param('<think>{"prompt": "draft"}?</think>\n{"prompt": "a b"}', ROW, id="after thoughts"),
        pytest.param('{"prompt": "draft"} no.</THINK>{"prompt": "a b"}', ROW, id="after thoughts without a beginning"),
        pytest.param(
            '<reasoning>{"prompt": "x"}</reasoning><thinking>{"prompt": "y"}</thinking>{"prompt": "a b"}',
            ROW,
            id="after the last of several thoughts",
        ),
        pytest.param('{"prompt": "a b"} <think>good?', ROW, id="before thoughts"),
        pytest.param(
            '<|channel|>analysis<|message|>{"prompt": "draft"}<|end|><|start|>assistant<|channel|>final<|message|>{"prompt": "a b"}',
            ROW,
            id="after thoughts in other marks",
        ),
        pytest.param(
            '◁think▷{"prompt": "draft"}◁/think▷{"prompt": "a b"}', ROW, id="after thoughts in yet other marks"
        ),
        pytest.param('First {"prompt": "draft"}, no: {"prompt": "a b"}. {"ok": 1}', ROW, id="the last that is a row"),
        pytest.param("{" * 500 + '{"prompt": "a b"}', ROW, id="after a wall of braces"),
        pytest.param('{"x": 1} ' * 500 + '{"prompt": "a b"}', ROW, id="after many objects"),
        pytest.param("x" * 300_000 + '{"prompt": "a b"}', ROW, id="after very long thoughts"),
        pytest.param('{"prompt": "a b",}', ROW, id="with a trailing comma"),
        pytest.param('{"prompt": "a\nb"}', DraftRow({"prompt": "a\nb"}, None), id="with a line break in it"),
        pytest.param(
            r'{"prompt": "3 \times 4, \frac{1}{2} of \$5"}',
            DraftRow({"prompt": r"3 \times 4, \frac{1}{2} of \$5"}, None),
            id="with TeX whose backslashes are not escaped",
        ),
        pytest.param(
            ' {"prompt": "close <think> by </think>"}\n',
            DraftRow({"prompt": "close <think> by </think>"}, None),
            id="a row that speaks of thoughts",
        ),
        pytest.param('{"prompt": 42}', DraftRow({"prompt": "42"}, None), id="a number means its text"),
        pytest.param('{"prompt": "a b", "completion": "x"}', DraftRow({"prompt": "a b"}, "x"), id="with a completion"),
        pytest.param(
            '{"prompt": "{{ 7*7 }} $(HOME)"}', DraftRow({"prompt": "{{ 7*7 }} $(HOME)"}, None), id="syntax is data"
        ),
    ],
)
def test_fault_59_a_row_is_read_behind_thoughts_and_never_a_draft(text: str, draft: DraftRow):
    assert parse(text, ["prompt"], choice=True) == draft


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("I cannot help with that.", "no JSON object", id="a refusal in prose"),
        pytest.param('{"prompt": "a', "no JSON object", id="cut in the middle"),
        pytest.param('<think>{"prompt": "draft"} hm', "its reasoning is not closed", id="thoughts without an end"),
        pytest.param(
            '<think>a</think> <think>{"prompt": "draft"}', "its reasoning is not closed", id="the second has no end"
        ),
        pytest.param('<think>{"prompt": "draft"}</think>', "no JSON object", id="thoughts alone"),
        pytest.param('{"question": "a"}', "prompt is missing", id="another name"),
        pytest.param('{"prompt": ["a"]}', "prompt is missing or no text", id="a list is no text"),
        pytest.param('{"prompt": null}', "prompt is missing or no text", id="null is no text"),
        pytest.param("{" * 100_000, "no JSON object", id="a wall of braces takes no time"),
        pytest.param('{"a":' * 5_000, "no JSON object", id="deep nesting is no crash"),
        pytest.param('{"prompt": "\\ud83d"}', "half a character", id="a lone surrogate"),
    ],
)
def test_fault_59_an_answer_without_a_row_is_refused_with_the_reason(text: str, told: str):
    with pytest.raises(Unparsable, match=told):
        parse(text, ["prompt"], choice=True)


def test_a_task_without_labels_needs_the_completion():
    with pytest.raises(Unparsable, match="completion is missing"):
        parse('{"prompt": "a"}', ["prompt"], choice=False)

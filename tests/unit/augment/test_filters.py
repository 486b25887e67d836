"""What the filters say of one answer: the first that refuses it, and the scores that were known by then."""

from __future__ import annotations

import json
import re

import pytest

from llm2llm.augment.filters import Filters, build_filters
from llm2llm.records import Example


def words(count: int, prefix: str = "w") -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


def row(name: str, prompt: str) -> Example:
    return Example(id=name, fields={"prompt": prompt}, completion="yes")


SEED = row("seed-0001", words(30))
LONG = words(39, "long")


@pytest.fixture
def filters() -> Filters:
    return build_filters(
        seeds=[SEED],
        evaluation=[row("evaluation-0001", words(9, "held"))],
        synthetic=[row("s0-seed-0001-1", f"{LONG} end")],
        threshold=0.95,
        ngram=13,
        invalid_reason=lambda fields, _: "the prompt shouts" if fields["prompt"].isupper() else None,
        choice=True,
    )


@pytest.mark.parametrize(
    ("prompt", "reason", "detail"),
    [
        pytest.param(words(12, "new"), "", "", id="a new row is kept"),
        pytest.param("", "schema", "prompt is empty", id="an empty field"),
        pytest.param("a\x00b", "schema", "prompt has control characters", id="control characters"),
        pytest.param("a \rhox", "schema", "prompt has control characters", id="what became of a command of TeX"),
        pytest.param("w1\r\nw2 new\tw3 and others", "", "", id="line breaks and tabs are text"),
        pytest.param("x" * 65_537, "schema", "prompt has 65537 characters, more than 65536", id="a field without end"),
        pytest.param("NOW", "schema", "the prompt shouts", id="what the task does not take"),
        pytest.param(words(30).upper() + "!", "schema", "the prompt shouts", id="the first filter gives the reason"),
        pytest.param(words(30).replace("w1 ", " W1 "), "copy", "equals seed-0001", id="a copy, case and spaces aside"),
        pytest.param(f"{LONG} other", "nearDuplicate", "ROUGE-L 0.975 to s0-seed-0001-1", id="an earlier round's row"),
        pytest.param(words(27) + " and two", "", "", id="F1 0.915 to its seed is no near duplicate"),
        pytest.param(
            words(9, "held") + " more",
            "contaminated",
            "differs little from held-out row evaluation-0001 (LCS-F1 0.947)",
            id="a held-out row with a word more",
        ),
    ],
)
def test_verdict(filters: Filters, prompt: str, reason: str, detail: str) -> None:
    verdict = filters.judge(json.dumps({"prompt": prompt, "completion": "YES"}), "stop", SEED)
    assert (verdict.reason, verdict.detail) == (reason, detail)
    assert verdict.completion == "yes"


def test_another_label_than_the_one_given_is_refused(filters: Filters) -> None:
    verdict = filters.judge('{"prompt": "something new", "completion": "no"}', "stop", SEED)
    assert (verdict.reason, verdict.detail) == ("label", "the label given was yes, the answer says no")


@pytest.mark.parametrize("said", ["BookRestaurant", "bookrestaurant"])
def test_the_label_that_was_given_is_taken_in_any_case(filters: Filters, said: str) -> None:
    seed = SEED.model_copy(update={"completion": "BookRestaurant"})
    verdict = filters.judge(json.dumps({"prompt": "something new", "completion": said}), "stop", seed)
    assert (verdict.reason, verdict.completion) == ("", "BookRestaurant")


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("I cannot help with that.", "stop", "schema"),
        ("", "content_filter", "contentFilter"),
        ("8192 tokens at most", "context_length", "contextLength"),
        ("not that one", "refused", "refused"),
    ],
)
def test_what_is_no_row_at_all(filters: Filters, text: str, finish: str, reason: str) -> None:
    verdict = filters.judge(text, finish, SEED)
    assert (verdict.fields, verdict.reason, verdict.scores) == (None, reason, {})


@pytest.mark.parametrize(
    ("text", "finish", "note"),
    [
        pytest.param('{"prompt": "a cut', "length", "raise max_tokens in spec.generate.teacher.parameters", id="cut"),
        pytest.param('{"prompt": "a cut', "max_tokens", "raise max_tokens", id="cut, in Anthropic's word"),
        pytest.param('{"prompt": "a cut', "MAX_TOKENS", "raise max_tokens", id="cut, in Gemini's word"),
        pytest.param("", "length", "cut at its limit of tokens", id="cut within its thoughts"),
        pytest.param('{"prompt": "a cut', "stop", "^$", id="not cut"),
        pytest.param('{"prompt": "all new"} and so', "length", "^$", id="cut after its row"),
    ],
)
def test_an_answer_that_was_cut_before_its_row_was_whole_says_what_to_raise(
    filters: Filters, text: str, finish: str, note: str
) -> None:
    assert re.search(note, filters.judge(text, finish, SEED).note)


def test_scores_are_those_that_were_looked_at(filters: Filters) -> None:
    """No nearer row than the threshold asks for is looked for, so a kept row has a score to its seed alone."""
    near = filters.judge(json.dumps({"prompt": f"{LONG} other"}), "stop", SEED)
    close = filters.judge(json.dumps({"prompt": words(29) + " x"}), "stop", row("seed-0002", words(29) + " y"))
    assert near.scores == {"rougeL": 0.975, "rougeLToSeed": 0.0, "withinOneWordOfSeed": False}
    assert close.scores == {"rougeL": 0.9667, "rougeLToSeed": 0.9667, "withinOneWordOfSeed": True}
    assert filters.judge('{"prompt": "all new"}', "stop", SEED).scores == {
        "rougeLToSeed": 0.0,
        "withinOneWordOfSeed": False,
    }

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from llm2llm.api.data import LABELED_PRESETS, Task
from llm2llm.presets import presets
from llm2llm.tasks import task_of
from llm2llm.tasks.grading import CORRECT, NO_ANSWER, WRONG
from llm2llm.tasks.presets import instructions_for


def task(preset: str) -> Any:
    return task_of(Task(preset=preset))


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        pytest.param("3 * 12 = 36, 36 - 5 = 31\n#### 31", CORRECT, id="working, then the answer"),
        pytest.param("#### 31", CORRECT, id="the answer alone"),
        pytest.param("####31", CORRECT, id="no space behind the marker"),
        pytest.param("#### $31.00 per box", CORRECT, id="currency, decimals and a unit"),
        pytest.param("#### 12\nwait, 36 - 5\n#### 31", CORRECT, id="of several markers the last counts"),
        pytest.param("#### 31\n#### 12", WRONG, id="also where it is the wrong one"),
        pytest.param("#### 31\nQuestion: A box of 12", CORRECT, id="what follows on another line is not read"),
        pytest.param("#### 13", WRONG, id="another number"),
        pytest.param("#### -31", WRONG, id="another sign"),
        pytest.param("#### 3,1", NO_ANSWER, id="a number that is none"),
        pytest.param("#### 31 or 32", NO_ANSWER, id="two numbers"),
        pytest.param("####", NO_ANSWER, id="nothing behind the marker"),
        pytest.param("She has 31 pens", NO_ANSWER, id="no marker, though the number is there"),
        pytest.param("A box holds 12 pens. How many? 31", NO_ANSWER, id="the question repeated"),
    ],
)
def test_a_gsm8k_answer_is_the_number_behind_the_last_marker(output: str, verdict: str):
    gsm8k = task("GSM8K")
    assert gsm8k.grade(output, "3 * 12 = 36\n36 - 5 = 31\n#### 31")[1] == verdict


@pytest.mark.parametrize(
    ("preset", "completion", "taught"),
    [
        pytest.param("CaseHOLD", "2", "C", id="CaseHOLD's holdings are numbered from 0"),
        pytest.param("TREC", "3", "HUM", id="TREC's classes are numbered as published"),
        pytest.param("TREC", "hum", "HUM", id="a class by name keeps its spelling"),
        pytest.param("SST2", "1", "positive", id="SST-2 has 0 and 1"),
        pytest.param("SNIPS", "getweather", "GetWeather", id="an intent by name"),
        pytest.param("SST2", " 0\n", "negative", id="a number with space around it"),
        pytest.param("TREC", "9", "9", id="what is no class stays, to be refused with its line"),
    ],
)
def test_a_class_is_taught_by_its_name(preset: str, completion: str, taught: str):
    assert task(preset).normalize(completion) == taught


@pytest.mark.parametrize(
    ("preset", "output", "verdict"),
    [
        pytest.param("SST2", " Positive\n", CORRECT, id="case and space do not matter"),
        pytest.param("SST2", "negative", WRONG, id="another label"),
        pytest.param("SST2", "very positive", NO_ANSWER, id="a label within more words"),
        pytest.param("SST2", "positive negative", NO_ANSWER, id="both labels"),
        pytest.param("SST2", "1", NO_ANSWER, id="a number is no answer of a student"),
        pytest.param("SST2", "positively", NO_ANSWER, id="a label inside a word"),
        pytest.param("SST2", "", NO_ANSWER, id="nothing"),
    ],
)
def test_an_answer_of_a_classification_is_the_whole_text(preset: str, output: str, verdict: str):
    classes = task(preset)
    assert classes.grade(output, "positive")[1] == verdict


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        pytest.param("answer: Blue", CORRECT, id="what the group finds, folded"),
        pytest.param("answer: red; answer: blue", CORRECT, id="the last match"),
        pytest.param("answer: red", WRONG, id="another one"),
        pytest.param("blue", NO_ANSWER, id="no match"),
    ],
)
def test_a_pattern_finds_the_answer(output: str, verdict: str):
    spec = {"promptTemplate": "x", "grader": {"type": "Regex", "pattern": r"answer: (\w+)"}}
    custom = task_of(Task.model_validate(spec))
    assert custom.grade(output, "it is so, answer: blue")[1] == verdict
    assert "does not match" in str(custom.invalid_reason({}, "blue"))


FIELDS = {"prompt": "p"} | {f"holding_{n}": f"h{n}" for n in range(5)}


@pytest.mark.parametrize("preset", presets())
def test_a_preset_renders_its_fields_and_tells_the_teacher_of_its_labels(preset: str):
    known = task(preset)
    prompt = known.render(FIELDS)
    assert "p" in prompt
    assert prompt == prompt.rstrip()  # the answer begins with a token of its own
    if preset == "CaseHOLD":
        assert all(f"{letter}. h{n}" in prompt for n, letter in enumerate("ABCDE"))
    else:
        assert all(label in presets()[preset].instructions for label in presets()[preset].labels)
    assert known.choice == bool(presets()[preset].labels)


def test_a_users_own_template_stays():
    assert task_of(Task(preset="SST2", prompt_template="{{ prompt }}?")).render({"prompt": "x"}) == "x?"


def test_a_users_own_instructions_come_before_the_presets():
    assert instructions_for(Task(preset="SST2"), "Films only.") == "Films only."
    assert instructions_for(Task(preset="SST2"), "") == presets()["SST2"].instructions
    assert instructions_for(Task(prompt_template="{{ x }}"), "") == ""


def test_the_api_knows_which_presets_have_labels():
    assert set(LABELED_PRESETS) == {name for name in presets() if task(name).choice}
    assert all(Task(preset=name).labeled == task(name).choice for name in presets())  # type: ignore[arg-type]


SENT = {
    "GSM8K": "182a17a731f2ca4c",
    "CaseHOLD": "7bb2eb55ed9eccc2",
    "SNIPS": "4b83eb33bcad13cc",
    "TREC": "9a2bce46d6886c02",
    "SST2": "36d73e22c18617f1",
}
"""Digests of what each preset sends to models, as of the first release."""


@pytest.mark.parametrize("name", SENT)
def test_what_a_preset_sends_to_a_model_is_what_it_sent_in_the_first_release(name: str):
    """A request's key hashes its messages: a changed word would be paid for again."""
    sent = json.dumps([presets()[name].template, presets()[name].instructions])
    assert hashlib.sha256(sent.encode()).hexdigest()[:16] == SENT[name]


def test_every_preset_is_held_to_what_it_sent_when_it_was_released():
    """A content key has no more of a preset than its name: nothing else would notice a changed text."""
    assert SENT.keys() == presets().keys()

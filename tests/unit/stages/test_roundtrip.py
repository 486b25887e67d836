"""Completions that a tokenizer does not give back."""

from __future__ import annotations

import pytest

from llm2llm.api.data import Task as TaskSpec
from llm2llm.stages.roundtrip import answer_problem
from llm2llm.tasks import Task, task_of

EXACT = task_of(TaskSpec.model_validate({"promptTemplate": "{{ x }}", "grader": {"type": "ExactMatch"}}))
NUMERIC = task_of(TaskSpec.model_validate({"promptTemplate": "{{ x }}", "grader": {"type": "Numeric"}}))
LOST = "write it that way, or without the characters that are lost"
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("task", "completion", "decoded"),
    [
        pytest.param(EXACT, "yes", "yes", id="the same text"),
        pytest.param(EXACT, " yes\n", "yes", id="space around it, which is not taught"),
        pytest.param(EXACT, DECOMPOSED, COMPOSED, id="an accent that is encoded in another way"),
        pytest.param(NUMERIC, "it is 42", "it is  42", id="what the grader does not look at"),
    ],
)
def test_a_difference_that_the_grader_ignores_is_no_problem(task: Task, completion: str, decoded: str) -> None:
    assert answer_problem(completion, decoded, task) is None


@pytest.mark.parametrize(
    ("completion", "decoded", "problem"),
    [
        pytest.param("a b", "a  b", f"the tokenizer turns 'a b' into 'a  b': {LOST}", id="shown whole where it is short"),
        pytest.param(" yes\n", "yess", f"the tokenizer turns 'yes' into 'yess': {LOST}", id="without the space around it"),
        pytest.param("yes", "", f"the tokenizer turns 'yes' into '': {LOST}", id="nothing is left of it"),
        pytest.param("yes", "yes!", f"the tokenizer turns 'yes' into 'yes!': {LOST}", id="more at its end"),
        pytest.param(
            "0123456789abcdefghijklmnopqrstuvwxyz",
            "0123456789abcdefghij\ufffdlmnopqrstuvwxyz",
            f"the tokenizer turns 'cdefghijklmnopqrstuv' into 'cdefghij\ufffdlmnopqrstuv': {LOST}",
            id="the place of the first difference in a long one, with some letters before it",
        ),
        pytest.param(
            f"{DECOMPOSED} 1", "caf? 1", f"the tokenizer turns '{DECOMPOSED} 1' into 'caf? 1': write it in Unicode NFC",
            id="a form of Unicode that many tokenizers lose",
        ),
    ],
)  # fmt: skip
def test_what_no_student_could_answer_is_told_where_it_differs(completion: str, decoded: str, problem: str) -> None:
    assert answer_problem(completion, decoded, EXACT) == problem

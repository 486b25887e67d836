import pytest

from llm2llm.api import data as api
from llm2llm.tasks import grading, task_of
from llm2llm.tasks.grading import CORRECT, NO_ANSWER, TIMED_OUT, WRONG

CHOICE = api.Task.model_validate(
    {"promptTemplate": "{{ text }}", "grader": {"type": "Choice"}, "labels": ["Yes", "no", "New York"]}
)
ACCENTS = api.Task.model_validate(
    {"promptTemplate": "{{ text }}", "grader": {"type": "Choice"}, "labels": ["ne\u0301gatif", "positif"]}
)
PATTERN = api.Task.model_validate({"promptTemplate": "{{ text }}", "grader": {"type": "Regex", "pattern": "#(.+)"}})
WHOLE = api.Task.model_validate({"promptTemplate": "{{ text }}", "grader": {"type": "Regex", "pattern": "[A-D]"}})
EXACT = api.Task.model_validate({"promptTemplate": "{{ text }}"})


@pytest.mark.parametrize(
    ("task", "output", "completion", "verdict"),
    [
        pytest.param(CHOICE, " yes\n", "Yes", CORRECT, id="a label counts without regard to case and space around it"),
        pytest.param(CHOICE, "new   york", "New York", CORRECT, id="space between words is folded"),
        pytest.param(CHOICE, "yes", "YES", CORRECT, id="the row's own completion is folded too"),
        pytest.param(CHOICE, "no", "Yes", WRONG, id="another label is wrong"),
        pytest.param(CHOICE, "yes, of course", "Yes", NO_ANSWER, id="an answer that contains a label is none"),
        pytest.param(CHOICE, "yesno", "Yes", NO_ANSWER, id="two labels are none"),
        pytest.param(CHOICE, "", "Yes", NO_ANSWER, id="nothing is no label"),
        pytest.param(EXACT, " 42 ", "42", CORRECT, id="exact match trims the answer"),
        pytest.param(EXACT, "42", " 42\n", CORRECT, id="exact match trims the completion"),
        pytest.param(EXACT, "Forty", "forty", WRONG, id="exact match respects case"),
        pytest.param(EXACT, "a  b", "a b", WRONG, id="exact match respects space within"),
        pytest.param(EXACT, "caf\u00e9", "cafe\u0301", CORRECT, id="exact match takes an accent in any encoding"),
        pytest.param(EXACT, "cafe", "caf\u00e9", WRONG, id="exact match respects accents"),
        pytest.param(ACCENTS, "n\u00e9gatif", "ne\u0301gatif", CORRECT, id="a label counts in any encoding"),
        pytest.param(PATTERN, "#Cafe\u0301", "#caf\u00e9", CORRECT, id="what a pattern finds counts in any encoding"),
        pytest.param(WHOLE, "Not A but C.", "C", CORRECT, id="a pattern without a group is what it found last"),
        pytest.param(WHOLE, "none", "C", NO_ANSWER, id="a pattern that finds nothing has no answer"),
        pytest.param(EXACT, " \n", "42", NO_ANSWER, id="blank output is no answer"),
    ],
)
def test_an_output_is_judged(task: api.Task, output: str, completion: str, verdict: str) -> None:
    judge = task_of(task)

    assert judge.grade(output, completion)[1] == verdict


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        (r"^(\w+\s?)*$", "a sentence of several words that ends with an exclamation mark!"),
        (r"(a+)+b", "a" * 40),
        (r"(x|x?)+y", "x" * 40),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 40),
        (r"(?:.*,){12}z", "1," * 40),
    ],
)
def test_fault_62_a_pattern_that_backtracks_is_ended_and_the_verdict_says_so(
    pattern: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading, "SECONDS", 0.05)
    task = task_of(
        api.Task.model_validate({"promptTemplate": "{{ text }}", "grader": {"type": "Regex", "pattern": pattern}})
    )
    assert task.grade(output, "whatever") == (None, TIMED_OUT)
    assert task.extract(output) is None
    reason = task.invalid_reason({"text": "x"}, output)
    assert reason is not None
    assert "takes spec.task.grader.pattern more than 0.05 s, because it backtracks" in reason
    assert task.grade("\n", "whatever")[1] in (NO_ANSWER, WRONG)  # and the next row is graded as ever

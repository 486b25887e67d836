from typing import Any

import pytest

from llm2llm.api import data as api
from llm2llm.errors import ConfigurationError
from llm2llm.tasks import task_of
from llm2llm.tasks.grading import CORRECT, NO_ANSWER, WRONG

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

    assert judge.judge(judge.extract(output), completion) == verdict


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("{{ 7 * 7 }}", id="an expression"),
        pytest.param("{% for x in range(9999999) %}x{% endfor %}", id="a loop"),
        pytest.param("$(HOME) $$ `id` \\u0024 \"quotes\" 'too'", id="what a shell or a kubelet would expand"),
        pytest.param("<b>&amp;</b>", id="markup"),
        pytest.param("\x1b[31m \u202e \u0007", id="control characters"),
    ],
)
def test_fault_48_a_value_is_data_and_never_evaluated(value: str) -> None:
    task = task_of(api.Task.model_validate({"promptTemplate": "Q: {{ text }}\n"}))

    assert task.render({"text": value}) == f"Q: {value}\n"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param("{{ missing }}", "missing", id="a name that the row lacks"),
        pytest.param("{{ text.__class__.__mro__ }}", "unsafe", id="a way out of the sandbox"),
        pytest.param("{{ text + 1 }}", "TypeError", id="an expression that fails"),
    ],
)
def test_a_template_that_fails_on_a_row_is_a_problem_of_the_row(template: str, words: str) -> None:
    task = task_of(api.Task.model_validate({"promptTemplate": template}))

    assert words in str(task.invalid_reason({"text": "x"}, "y"))


@pytest.mark.parametrize(
    ("task", "fields", "completion", "words"),
    [
        pytest.param(
            {"preset": "GSM8K"}, {"prompt": " \n"}, "#### 1", "(blank: prompt)", id="GSM8K without a question"
        ),
        pytest.param({"preset": "SST2"}, {"prompt": ""}, "positive", "(blank: prompt)", id="SST2 without a sentence"),
        pytest.param({"promptTemplate": "Q: {{ q }}"}, {"q": "\u00a0"}, "y", "(blank: q)", id="fixed words alone"),
        pytest.param({"promptTemplate": "{{ q }}"}, {"q": " "}, "y", "the prompt is empty", id="no words at all"),
        pytest.param(
            {"promptTemplate": "{{ q }} of {{ r }}"}, {"q": "", "r": "", "s": "x"}, "y", "(blank: q, r)", id="all"
        ),
        pytest.param(
            {"promptTemplate": "{{ q }} of {{ r }}"}, {"q": "", "r": "x"}, "y", None, id="one field is enough"
        ),
        pytest.param({"promptTemplate": "Count to ten."}, {"q": ""}, "y", None, id="a template that asks for nothing"),
        pytest.param(
            {"promptTemplate": "{% for n in range(2) %}{{ q }}.{% endfor %}"}, {"q": ""}, "y", "(blank: q)", id="a loop"
        ),
    ],
)
def test_a_row_that_fills_in_nothing_is_refused(task: Any, fields: dict[str, str], completion: str, words: str | None):
    problem = task_of(api.Task.model_validate(task)).invalid_reason(fields, completion)
    assert problem is None if words is None else words in str(problem)


def test_a_template_with_a_syntax_error_is_a_problem_of_the_spec() -> None:
    with pytest.raises(ConfigurationError, match=r"spec\.task\.promptTemplate"):
        task_of(api.Task.model_validate({"promptTemplate": "{% if %}"}))


def test_a_completion_that_is_no_label_is_a_problem_of_the_row() -> None:
    assert "none of spec.task.labels" in str(task_of(CHOICE).invalid_reason({"text": "x"}, "maybe"))


def test_a_template_cannot_draw_at_random():
    with pytest.raises(ConfigurationError, match=r"spec\.task\.promptTemplate: No filter named 'random'"):
        task_of(api.Task.model_validate({"promptTemplate": "{{ text|random }}"}))
    task = task_of(api.Task.model_validate({"promptTemplate": "{{ text }} {{ lipsum() }}"}))
    assert "'lipsum' is undefined" in str(task.invalid_reason({"text": "x"}, "y"))

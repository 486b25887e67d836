"""A spec's template and grader: what of them is a problem of the spec, and what one of a row."""

from __future__ import annotations

from typing import Any

import pytest

from llm2llm.api import data as api
from llm2llm.errors import ConfigurationError
from llm2llm.tasks import custom, task_of

CHOICE = api.Task.model_validate(
    {"promptTemplate": "{{ text }}", "grader": {"type": "Choice"}, "labels": ["Yes", "no", "New York"]}
)


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
        pytest.param(
            "{{ text.index('?') }}", "spec.task.promptTemplate: ValueError: substring not", id="in its own way"
        ),
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
    assert "'lipsum' is not a field of the row (the fields are 'text')" in str(task.invalid_reason({"text": "x"}, "y"))


@pytest.mark.parametrize(
    ("spec", "choice", "max_tokens"),
    [
        pytest.param({"promptTemplate": "{{ text }}"}, False, 0, id="an own task is as long as its rows"),
        pytest.param(CHOICE.model_dump(by_alias=True), True, 0, id="so is one with labels"),
        pytest.param({"preset": "GSM8K"}, False, 512, id="a preset that works out its answer has room for it"),
    ],
)
def test_the_length_of_an_answer_is_the_presets(spec: dict[str, Any], choice: bool, max_tokens: int):
    task = task_of(api.Task.model_validate(spec))
    assert (task.choice, task.max_tokens) == (choice, max_tokens)


def test_a_template_cannot_change_its_row():
    task = task_of(api.Task.model_validate({"promptTemplate": "{% set _ = tags.append('x') %}{{ tags }}"}))
    with pytest.raises(ValueError, match=r"spec\.task\.promptTemplate: .*unsafe"):
        task.render({"tags": ["a"]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("(", id="which re refuses"),
        pytest.param("a{99999999999}", id="more repetitions than re counts"),
        pytest.param("(" * 500 + ")" * 500, id="groups within groups without end"),
    ],
)
def test_a_pattern_that_is_no_regular_expression_is_a_problem_of_the_spec(pattern: str):
    with pytest.raises(ConfigurationError, match=r"spec\.task\.grader\.pattern is not a valid regular expression: \S"):
        task_of(api.Task.model_validate({"promptTemplate": "x", "grader": {"type": "Regex", "pattern": pattern}}))


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{% for a in b %}" * 25 + "{% endfor %}" * 25, id="more blocks than Python nests"),
        pytest.param("{{ " + "(" * 2000 + "x" + ")" * 2000 + " }}", id="brackets within brackets without end"),
        pytest.param("{{ " + "9" * 5000 + " }}", id="a number of more digits than Python writes"),
    ],
)
def test_a_template_that_python_cannot_compile_is_a_problem_of_the_spec(template: str):
    with pytest.raises(ConfigurationError, match=r"spec\.task\.promptTemplate: \S"):
        task_of(api.Task.model_validate({"promptTemplate": template}))


def test_fault_62_a_template_that_computes_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom, "_RENDER_SECONDS", 0.1)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{{ text }}"
    task = task_of(api.Task.model_validate({"promptTemplate": loops}))
    with pytest.raises(ValueError, match=r"spec\.task\.promptTemplate: one row takes it more than 0\.1 s"):
        task.render({"text": "x"})


@pytest.mark.parametrize("template", ["{{ 9**(9**9) }}{{ text }}", "{{ 'x' * (10**15) }}{{ text }}"])
def test_a_template_of_a_huge_number_or_text_ends_in_an_error_of_its_row(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "_RENDER_SECONDS", 0.1)
    task = task_of(api.Task.model_validate({"promptTemplate": template}))
    with pytest.raises(ValueError, match=r"spec\.task\.promptTemplate"):
        task.render({"text": "x"})

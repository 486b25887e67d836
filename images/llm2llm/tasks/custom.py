"""The task that a spec describes: a template and a grader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import jinja2.sandbox

from llm2llm import api_data
from llm2llm.errors import ConfigurationError
from llm2llm.tasks import grading


@dataclass(frozen=True)
class Task:
    """How a row becomes a prompt, and an output a verdict. Made by `task_of`."""

    template: jinja2.Template
    labels: Sequence[str] | None

    def render(self, fields: Mapping[str, str]) -> str:
        """The prompt of a row. Values are data: template syntax in them stays text.

        Raises:
            ValueError: the template names a field that the row lacks, or fails on it.
        """
        try:
            return self.template.render(dict(fields))
        except jinja2.TemplateError as error:
            raise ValueError(f"spec.task.promptTemplate: {error}") from error
        except (TypeError, ArithmeticError, AttributeError, LookupError, RecursionError, OverflowError) as error:
            raise ValueError(f"spec.task.promptTemplate: {type(error).__name__}: {error}") from error

    def extract(self, output: str) -> str | None:
        """The answer in an output, None where there is none."""
        if self.labels is None:
            return grading.exact_answer(output)
        return grading.chosen_label(output, self.labels)

    def judge(self, answer: str | None, completion: str) -> str:
        """The verdict on an extracted answer: correct, wrong or noAnswer."""
        if self.labels is None:
            return grading.verdict(answer, completion)
        return grading.verdict(answer, grading.chosen_label(completion, self.labels) or completion)

    def problem_with(self, fields: Mapping[str, str], completion: str) -> str | None:
        """Why this row cannot be used in this task, or None."""
        try:
            prompt = self.render(fields)
        except ValueError as error:
            return str(error)
        if not prompt.strip():
            return "the prompt is empty"
        if not completion.strip():
            return "the completion is empty"
        if self.labels is not None and grading.chosen_label(completion, self.labels) is None:
            return f"the completion {completion[:80]!r} is none of spec.task.labels"
        return None


def task_of(spec: api_data.Task) -> Task:
    """The task of a run.

    Raises:
        ConfigurationError: the template is no template.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    try:
        template = environment.from_string(spec.prompt_template)
    except jinja2.TemplateError as error:
        raise ConfigurationError(f"spec.task.promptTemplate: {error}") from error
    return Task(template=template, labels=tuple(spec.labels) if spec.grader.type == "Choice" else None)

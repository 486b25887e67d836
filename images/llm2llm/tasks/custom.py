"""Builds the task that a spec describes: a template and a grader."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import jinja2
import jinja2.meta
import jinja2.sandbox

from llm2llm.api import data as api_data
from llm2llm.errors import ConfigurationError
from llm2llm.presets import Preset, presets
from llm2llm.suggestion import did_you_mean
from llm2llm.tasks import grading
from llm2llm.tasks.presets import expand_preset
from llm2llm.tasks.timelimit import TimeLimitExceeded, limit_cpu_time

_BRACES = ": a field is written with two braces on each side, as in '{{ prompt }}'"
_RENDER_SECONDS = 5.0
"""Maximum CPU time of a prompt; a template may loop."""


@dataclass(frozen=True)
class Task:
    """Turns a row into a prompt, and an output into a verdict. `task_of` creates it."""

    template: jinja2.Template
    names: frozenset[str]
    """The fields that the template uses."""
    grader: grading.Grader
    max_tokens: int = 0
    """Maximum tokens of an answer; 0 means twice the longest seed completion."""

    @property
    def choice(self) -> bool:
        """Returns whether the answer is one of some labels: then the teacher is given it and writes only the input."""
        return isinstance(self.grader, grading.Choice)

    def render(self, fields: Mapping[str, str]) -> str:
        """Renders the prompt of a row. Values are data: template syntax in them stays text.

        Raises:
            ValueError: the template names a field that the row lacks, or fails on it.
        """
        try:
            with limit_cpu_time(_RENDER_SECONDS):
                return self.template.render(dict(fields))
        except TimeLimitExceeded:
            raise ValueError(f"spec.task.promptTemplate: one row takes it more than {_RENDER_SECONDS:g} s") from None
        except jinja2.TemplateError as error:
            raise ValueError(f"spec.task.promptTemplate: {_unknown_field(error, fields) or error}") from error
        except (
            TypeError, ValueError, ArithmeticError, AttributeError, LookupError, RecursionError, MemoryError,
        ) as error:  # fmt: skip
            raise ValueError(f"spec.task.promptTemplate: {type(error).__name__}: {error}") from error

    def unknown_field(self, fields: Collection[str]) -> str:
        """Returns what the template asks for that rows with these fields have not; '' if they have all."""
        names = set(fields) - {"completion", "id"}
        if not names or self.names <= names:
            return ""
        try:
            self.render(dict.fromkeys(names, "x"))  # a field that is asked for with a default is none too many
        except ValueError as error:
            return str(error) if any(repr(name) in str(error) for name in self.names - names) else ""
        return ""

    def extract(self, output: str) -> str | None:
        """Returns the answer in an output, or None if there is none, or if finding it takes too long."""
        try:
            return self.grader.answer(output)
        except grading.TooSlow:
            return None

    def grade(self, output: str, completion: str) -> tuple[str | None, str]:
        """Returns the answer in an output, and the verdict on it: correct, wrong, noAnswer or timedOut."""
        try:
            answer = self.grader.answer(output)
            if answer is None:
                return None, grading.NO_ANSWER
            return answer, grading.CORRECT if answer == self.grader.answer(completion) else grading.WRONG
        except grading.TooSlow:
            return None, grading.TIMED_OUT

    def normalize(self, completion: str) -> str:
        """Returns a row's completion as it is taught: the name of a class, even if the file has its number."""
        return self.grader.normalize(completion)

    def invalid_reason(self, fields: Mapping[str, str], completion: str) -> str | None:
        """Returns why this row cannot be used in this task, or None."""
        try:
            prompt = self.render(fields)
        except ValueError as error:
            return str(error)
        if not prompt.strip():
            return "the prompt is empty"
        used_fields = sorted(self.names & fields.keys())
        if used_fields and not any(fields[name].strip() for name in used_fields):
            return f"the prompt is empty but for the template's words (blank: {', '.join(used_fields)})"
        if not completion.strip():
            return "the completion is empty"
        try:
            answer = self.grader.answer(completion)
        except grading.TooSlow:
            return (
                f"the completion {completion[:80]!r} takes spec.task.grader.pattern more than {grading.SECONDS:g} s, "
                "because it backtracks: repeat no group that itself repeats, as in (a+)+"
            )
        if answer is None:
            labels = self.grader.labels if isinstance(self.grader, grading.Choice) else ()
            return f"the completion {completion[:80]!r} {self.grader.failure_phrase}{did_you_mean(completion, labels)}"
        return None


def task_of(spec: api_data.Task) -> Task:
    """Builds the task of a run.

    Raises:
        ConfigurationError: the template or the regular expression is invalid.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    # A prompt is rendered anew in every step, and must be the same in each: nothing in it may be random.
    del environment.filters["random"], environment.globals["lipsum"]
    task = expand_preset(spec)
    environment.intercepted_binops = frozenset({"**", "*"})  # not computed when it is compiled
    try:
        template = environment.from_string(task.prompt_template)
        names = frozenset(jinja2.meta.find_undeclared_variables(environment.parse(task.prompt_template)))
    except jinja2.TemplateSyntaxError as error:
        advice = "" if isinstance(error, jinja2.TemplateAssertionError) else _BRACES
        message = str(error.message).rstrip(".")
        raise ConfigurationError(f"spec.task.promptTemplate: {message} in line {error.lineno}{advice}") from error
    except (jinja2.TemplateError, SyntaxError, ValueError, RecursionError) as error:  # Jinja compiles it to Python
        raise ConfigurationError(f"spec.task.promptTemplate: {error}") from error
    preset = presets().get(spec.preset)
    return Task(template, names, _grader(task, preset), preset.max_tokens if preset else 0)


_UNDEFINED = re.compile(r"'(\w+)' is undefined")


def _unknown_field(error: jinja2.TemplateError, fields: Collection[str]) -> str:
    """Says which field a template asks for in vain, and which there are; '' if the error is another one."""
    match = _UNDEFINED.fullmatch(str(error))
    if match is None:
        return ""
    there = ", ".join(map(repr, sorted(fields))) or "none"
    return f"{match[1]!r} is not a field of the row{did_you_mean(match[1], fields)} (the fields are {there})"


def _grader(task: api_data.Task, preset: Preset | None) -> grading.Grader:
    match task.grader.type:
        case "Choice":
            return grading.Choice(tuple(task.labels), preset.aliases if preset else {})
        case "Numeric":
            return grading.Numeric(preset.marker if preset else "")
        case "Regex":
            try:
                return grading.Regex(re.compile(task.grader.pattern))
            except (re.error, OverflowError, RecursionError) as error:
                raise ConfigurationError(
                    f"spec.task.grader.pattern is not a valid regular expression: {error}"
                ) from error
        case "ExactMatch":
            return grading.Exact()

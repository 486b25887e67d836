"""Checks the rows of a run before it begins: each against the task and the model, and their answers together.

PURE, but for the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import SourceRows, lines_where
from llm2llm.errors import ConfigurationError
from llm2llm.models.tokenizer import StudentTokenizer
from llm2llm.stages.roundtrip import answer_problem
from llm2llm.stages.size_checks import limit_problem, limit_warning
from llm2llm.tasks import Task


@dataclass(frozen=True)
class StudentLimits:
    """What the checks of rows need to know about the base model."""

    revision: str
    tokens: StudentTokenizer
    context: int
    vocabulary: int

    def count(self, texts: list[str]) -> list[int]:
        """Returns the number of tokens of each text, without those that mark a prompt or an end."""
        return [len(ids) - 1 for ids in self.tokens.completions(texts)]


def refuse_invalid_rows(rows: SourceRows, task: Task) -> None:
    """Refuses rows that the task cannot use."""
    rows.refuse(
        lines_where(rows.rows, [task.invalid_reason(row.example.fields, row.example.completion) for row in rows.rows])
    )


def refuse_untokenizable_rows(
    sets: Mapping[str, SourceRows],
    task: Task,
    model: StudentLimits,
    spec: AugmentationRunSpec,
    lengths: dict[str, dict[str, int]],
) -> None:
    """Refuses rows that are too long, or whose completion does not survive tokenization.

    A row longer than maxLength would silently be cut, in its prompt or, worse, in its answer. One longer than the
    model's context could be neither learned nor answered. One whose completion does not come back from its tokens would
    be a mistake in every iteration, paid for each time.

    Args:
        sets: the rows by the name of the set.
        task: of the run.
        model: its tokenizer counts.
        spec: of the run.
        lengths: receives the number of tokens by set and row id, prompt and completion together.
    """
    tokenized = {name: _tokenize(rows, task, model) for name, rows in sets.items()}
    for name, rows in sets.items():
        counts = [len(prompt) + len(completion) for prompt, completion in tokenized[name]]
        lengths[name] = {row.example.id: count for row, count in zip(rows.rows, counts, strict=True)}
    longest = max((count for counts in lengths.values() for count in counts.values()), default=0)
    limit = spec.train.hyperparameters.max_length
    for name, rows in sets.items():
        problems = [
            _vocabulary_problem([*prompt, *completion], model.vocabulary)
            or _length_problem(len(prompt), len(completion), limit, longest, model.context)
            or answer_problem(row.example.completion, model.tokens.text(completion), task)
            for row, (prompt, completion) in zip(rows.rows, tokenized[name], strict=True)
        ]
        rows.refuse(lines_where(rows.rows, problems))


def _tokenize(rows: SourceRows, task: Task, model: StudentLimits) -> list[tuple[list[int], list[int]]]:
    prompts = model.tokens.prompts([task.render(row.example.fields) for row in rows.rows])
    completions = model.tokens.completions([row.example.completion for row in rows.rows])
    return list(zip(prompts, completions, strict=True))


def check_answers(
    sets: Mapping[str, SourceRows], task: Task, model: StudentLimits, spec: AugmentationRunSpec
) -> Iterator[str]:
    """Yields a warning if some right answers are longer than the student may answer.

    Raises:
        ConfigurationError: all are.
    """
    of_preset = not spec.evaluate.sampling.max_tokens
    limit = task.max_tokens if of_preset else spec.evaluate.sampling.max_tokens
    completions = [row.example.completion for rows in sets.values() for row in rows.rows]
    answers = [len(ids) for ids in model.tokens.completions(completions)]
    if problem := limit_problem(limit, answers, of_preset=of_preset):
        raise ConfigurationError(problem)
    yield limit_warning(limit, answers, of_preset=of_preset)


def _vocabulary_problem(ids: list[int], vocabulary: int) -> str | None:
    highest = max(ids)
    if not 0 < vocabulary <= highest:
        return None
    return (
        f"the tokenizer gives it token {highest}, for which the model has no embedding (vocab_size {vocabulary}): "
        "remove that text, or use the model's own tokenizer"
    )


def _length_problem(prompt: int, completion: int, limit: int, longest: int, context: int) -> str | None:
    if prompt == 0:
        return "the prompt has no tokens"
    if context and prompt >= context:
        return (
            f"the prompt has {prompt} tokens, which leaves no room for an answer in the model's context of {context}: "
            "shorten the row, or use another model"
        )
    if context and prompt + completion > context:
        return (
            f"the prompt ({prompt} tokens) and the completion ({completion}) exceed the model's context of {context}: "
            "shorten the row, or use another model"
        )
    if prompt + completion > limit:
        return (
            f"prompt and completion have more tokens than spec.train.hyperparameters.maxLength {limit}: the longest "
            f"row needs {longest}"
        )
    return None

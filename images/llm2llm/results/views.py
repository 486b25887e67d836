"""PURE: what the commands that look at results show, as rows of plain values, from the contents of a run's report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from llm2llm.budget import Spent, cost
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.loop.outcomes import describe_iteration
from llm2llm.loop.signtest import compare, p_value
from llm2llm.loop.stages import INPUTS
from llm2llm.records import Metric, Paired
from llm2llm.report import summary
from llm2llm.report.collect import Contents, Iteration
from llm2llm.report.history import SeedHistory
from llm2llm.suggestion import did_you_mean

Row = dict[str, Any]

_OURS = frozenset(
    ("set", "id", "label", "answer", "answers", "verdict", "wrong", "iteration", "seed", "completion", "source")
)
_FIELDS = "*"
"""Place of a row's fields among our columns."""
MISTAKES = ("set", "id", _FIELDS, "label", "answer", "verdict")
KEPT = ("iteration", "id", _FIELDS, "label", "seed")
REJECTED = ("iteration", "id", "reason", "detail", "text", "seed")
SUSPECTS = ("id", _FIELDS, "label", "wrong", "answers")
"""Columns of the tables, which a program gets also if there are no rows."""
_LABELS_SHOWN = 20
_LABEL_LENGTH = 40


def columns_of(contents: Contents, table: Sequence[str]) -> list[str]:
    """Returns the columns of a table, with the fields of the run's rows in their place."""
    fields = apart({name: "" for name in contents.spec.data.seed.fields if name not in ("id", "completion")})
    return [name for column in table for name in (fields if column == _FIELDS else (column,))]


def check_inputs(contents: Contents) -> None:
    """Checks that the rows of a run are there.

    Raises:
        ConfigurationError: its first step is not done.
        IncompatibleArtifacts: they are gone.
    """
    if contents.inputs is None and contents.iterations:
        raise IncompatibleArtifacts(f"{contents.uri}: the run's rows are gone: restore its folder {INPUTS}")
    if contents.inputs is None:
        raise ConfigurationError(
            f"{contents.uri}: there is nothing to show: the run's first step, Prepare, is not done"
        )


def apart(fields: Mapping[str, str]) -> Row:
    """Returns a row's fields for the columns beside ours: one that is called as ours is gets another name."""
    return {f"field {name}" if name in _OURS else name: value for name, value in fields.items()}


def iteration_named(contents: Contents, index: int | None) -> Iteration:
    """Returns an evaluated iteration: the best one if none is named.

    Raises:
        ConfigurationError: there is no such iteration, or it is not evaluated.
    """
    evaluated = [each for each in contents.iterations if each.evaluate]
    if index is None:
        found = contents.best_iteration or (evaluated[-1] if evaluated else None)
    else:
        found = next((each for each in evaluated if each.index == index), None)
    if found is None:
        known = ", ".join(str(each.index) for each in evaluated) or "none"
        wanted = "an iteration" if index is None else describe_iteration(index)
        raise ConfigurationError(f"{contents.run}: {wanted} has not been evaluated; evaluated iterations: {known}")
    return found


def mistakes(contents: Contents, iteration: Iteration, label: str | None, dataset: str | None) -> list[Row]:
    """Returns the rows that the student of an iteration answered wrong.

    Args:
        contents: of the run.
        iteration: whose student answered.
        label: only rows with this right answer.
        dataset: only rows of this set.

    Raises:
        ConfigurationError: no row has this right answer, or the student did not answer this set.
    """
    answered = [name for name, answers in iteration.answers.items() if answers]
    if dataset not in (None, *answered):
        raise ConfigurationError(
            f"{contents.run}: {describe_iteration(iteration.index)} answered no {dataset} rows, only those of: "
            f"{', '.join(answered) or 'no set'}"
        )
    labels = sorted(
        {example.completion for example in (*(seed.example for seed in contents.seeds), *contents.held_out)}
    )
    if label not in (None, *labels):
        known = ", ".join(each[:_LABEL_LENGTH] for each in labels[:_LABELS_SHOWN]) + (
            ", ..." if labels[_LABELS_SHOWN:] else ""
        )
        raise ConfigurationError(
            f"{contents.run}: no row has the right answer {label!r}{did_you_mean(str(label), labels)} (the answers are "
            f"{known})"
        )
    return list(_mistakes(contents, iteration, label, dataset))


def _mistakes(contents: Contents, iteration: Iteration, label: str | None, dataset: str | None) -> Iterator[Row]:
    examples = {seed.example.id: seed.example for seed in contents.seeds}
    held_out = {example.id: example for example in contents.held_out}
    for name, answers in iteration.answers.items():
        for given in answers if dataset in (None, name) else ():
            example = (held_out if name == "evaluation" else examples).get(given.id)
            if given.correct or example is None or label not in (None, example.completion):
                continue
            yield {
                "set": name,
                "id": given.id,
                **apart(example.fields),
                "label": example.completion,
                "answer": given.output,
                "verdict": given.verdict,
            }


def samples(contents: Contents, index: int | None, *, rejected: bool) -> list[Row]:
    """Returns the rows that the teacher wrote: those that were kept, or those that the filters rejected.

    Raises:
        ConfigurationError: there is no such iteration.
    """
    known = [each.index for each in contents.iterations]
    if index not in (None, *known):
        names = ", ".join(map(str, known)) or "none"
        raise ConfigurationError(f"{contents.run}: there is no iteration {index}; the iterations are {names}")
    return list(_samples(contents, index, rejected=rejected))


def _samples(contents: Contents, index: int | None, *, rejected: bool) -> Iterator[Row]:
    for iteration in contents.iterations:
        if index not in (None, iteration.index):
            continue
        if rejected:
            for answer in iteration.rejected:
                yield {
                    "iteration": iteration.index,
                    "id": answer.id,
                    "reason": answer.reason,
                    "detail": answer.detail,
                    "text": answer.text,
                    "seed": answer.seed,
                }
        else:
            for row in iteration.kept:
                yield {
                    "iteration": iteration.index,
                    "id": row.id,
                    **apart(row.fields),
                    "label": row.completion,
                    "seed": row.root,
                }


def suspects(seeds: Sequence[SeedHistory]) -> Iterator[Row]:
    """Yields the seed rows whose label may be the mistake, the most often wrong first."""
    for seed in sorted((seed for seed in seeds if seed.suspect), key=lambda seed: -len(seed.wrong)):
        answers = {given.output: None for _, given in seed.answers if not given.correct}
        yield {
            "id": seed.example.id,
            **apart(seed.example.fields),
            "label": seed.example.completion,
            "wrong": f"{len(seed.wrong)} of {len(seed.answers)}",
            "answers": " | ".join(answers),
        }


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same rows: `paired.gained` counts those that only the second got right."""

    first: Metric
    second: Metric
    paired: Paired

    @property
    def chance(self) -> float:
        """The two-sided p-value of the difference."""
        return p_value(self.paired.gained, self.paired.lost)

    def verdict(self, first: str, second: str) -> str:
        """Says in a sentence which run is better, if one is."""
        gained, lost = self.paired.gained, self.paired.lost
        counts = f"of {self.paired.examples:,} rows, {second} alone got {gained} right, and {first} alone {lost}"
        chance = summary.describe_chance(self.chance)
        if gained == lost or self.chance > summary.LEVEL:
            return f"No difference that is more than chance ({chance}): {counts}."
        better, worse = (second, first) if gained > lost else (first, second)
        return f"{better} is better than {worse} ({chance}): {counts}."


def compare_runs(first: Contents, second: Contents) -> Comparison:
    """Compares the best iterations of two runs, row by row.

    Raises:
        ConfigurationError: a run has no score yet, or the rows that decide are not the same.
    """
    scores = []
    for contents in (first, second):
        best = contents.best_iteration
        if best is None or best.judged is None:
            raise ConfigurationError(f"{contents.run} ({contents.uri}) has no evaluated iteration to compare")
        scores.append((best, best.judged))
    (one, one_score), (other, other_score) = scores
    digests = [_evaluation_digest(contents) for contents in (first, second)]
    if one_score.dataset != other_score.dataset or digests[0] != digests[1]:
        raise ConfigurationError(
            f"{first.run} and {second.run} were not scored on the same rows ({one_score.dataset} rows "
            f"{_short(digests[0])}, {other_score.dataset} rows {_short(digests[1])}): their scores say nothing about "
            "each other; run both with the same spec.data"
        )
    before, now = ({row.id: row.correct for row in each.answers[one_score.dataset]} for each in (one, other))
    paired = compare(one.index, one_score.dataset, before, now)
    if paired is None:
        raise ConfigurationError(f"{first.run} and {second.run} have no scored row in common")
    return Comparison(one_score, other_score, paired)


def comparison_rows(first: Contents, second: Contents, comparison: Comparison) -> list[Row]:
    """Returns a row for each figure, with a column for each run."""
    rows: list[Row] = []
    columns = ((first, comparison.first), (second, comparison.second))

    def add(name: str, values: Sequence[str]) -> None:
        rows.append({"figure": name, "first": values[0], "second": values[1]})

    add("run", [contents.run for contents, _ in columns])
    add("score", [f"{score.name} {summary.share(score.value)}" for _, score in columns])
    add("95 % interval", [f"{summary.share(score.low)} to {summary.share(score.high)}" for _, score in columns])
    bests = [contents.best_iteration for contents, _ in columns]
    add("best iteration", [best.name if best else "" for best in bests])
    add("right where the other is wrong", [str(comparison.paired.lost), str(comparison.paired.gained)])
    kept = [sum(len(each.kept) for each in contents.iterations) for contents, _ in columns]
    add("rows from the teacher", [f"{count:,}" for count in kept])
    usages = [summary.usage(contents.iterations) for contents, _ in columns]
    add("teacher tokens", [f"{each.teacher_input_tokens + each.teacher_output_tokens:,}" for each in usages])
    add("cost", [summary.price(contents) or "no prices" for contents, _ in columns])
    add("cost of a point of accuracy", [_cost_of_a_point(contents) for contents, _ in columns])
    add("work", [summary.duration(summary.work_seconds(contents)) for contents, _ in columns])
    return rows


def _cost_of_a_point(contents: Contents) -> str:
    """Returns what .01 of score more than iteration 0 cost; '' without prices or a gain."""
    budget, judged = contents.spec.budget, contents.judged
    if budget is None or budget.prices is None or not judged or judged[0].judged is None or contents.best is None:
        return ""
    points = Decimal(str(contents.best.metric.value - judged[0].judged.value)) * 100
    spent = cost(Spent(summary.usage(contents.iterations), contents.gpu_seconds), budget.prices)
    return f"{spent / points:,.2f}" if points > 0 else "no gain"


def _evaluation_digest(contents: Contents) -> str:
    resolved = contents.inputs.resolved if contents.inputs else None
    best = contents.best_iteration
    if resolved is None or best is None or best.judged is None:
        return ""
    return resolved.evaluation_digest if best.judged.dataset == "evaluation" else resolved.inputs_digest


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12] or "unknown"

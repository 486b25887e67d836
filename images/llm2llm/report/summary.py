"""PURE: says in sentences how a run went: the verdict, what it cost, and what makes its scores doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm2llm.budget import SECONDS_PER_HOUR, Spent, cost
from llm2llm.loop.outcomes import CLOSING, describe_iteration
from llm2llm.loop.signtest import compare, p_value
from llm2llm.loop.stopping import NO_MISTAKES, Finished
from llm2llm.records import Metric, Paired, Usage, total_usage
from llm2llm.report.collect import Contents, Iteration

FEW_ROWS = 100
"""Number of rows below which a score's interval is wider than most gains: 95 % of .8 is then about .71 to .87."""
FEW_SEEDS = 20
LOW_ACCEPTANCE = 0.3
"""Share of the teacher's answers that the filters kept, below which most of what was paid for is thrown away."""

LEVEL = 0.05
"""Chance from which on a gain may be none."""
SMALLEST_CHANCE = 0.001
"""Below it, a p-value says no more than that it is small."""


@dataclass(frozen=True)
class Gain:
    """What the best iteration got right that iteration 0 did not, row by row, and how likely chance explains it."""

    paired: Paired
    chance: float


def verdict(contents: Contents) -> str:
    """Returns one sentence: from which score to which, with its interval, its rows and the best iteration."""
    sentence = _verdict(contents)
    return sentence[0].upper() + sentence[1:]


def _verdict(contents: Contents) -> str:
    judged, best = contents.judged, contents.best
    if not judged or judged[0].judged is None:
        return "No iteration has been evaluated yet."
    first = judged[0].judged
    if best is None:
        return _interim(judged)
    score = best.metric
    interval = _interval(score)
    if best.iteration == judged[0].index:
        if len(judged) == 1:
            return f"{_on_rows(score)} ({interval}) after training on the seed rows alone."
        return (
            f"No iteration scored higher than training on the seed rows alone: {score.name} {share(score.value)} on "
            f"{_rows(score)} ({interval})."
        )
    before, now = share(first.value), share(score.value)
    change = "stayed at" if before == now else f"{'rose' if before < now else 'fell'} from {before} to"
    place = f"{'the ' if best.iteration >= CLOSING else ''}{describe_iteration(best.iteration)}"
    return f"{score.name} {change} {now} on {_rows(score)} ({interval}); the best is {place}."


def _interim(judged: Sequence[Iteration]) -> str:
    """Returns the sentence of a run that trains on a part of its rows until its closing iteration."""
    newest = judged[-1].judged
    if newest is None:
        return "No iteration has been evaluated yet."
    return (
        f"{_on_rows(newest)} ({_interval(newest)}) in {describe_iteration(judged[-1].index)}, the newest; the closing "
        "iteration, whose student is the result, is not done yet."
    )


def _on_rows(score: Metric) -> str:
    return f"{score.name} is {share(score.value)} on {_rows(score)}"


def _rows(score: Metric) -> str:
    return f"{score.examples:,} {score.dataset} rows"


def _interval(score: Metric) -> str:
    return f"95 % interval {share(score.low)} to {share(score.high)}"


def share(value: float) -> str:
    """Writes a score with three decimals."""
    return f"{value:.3f}"


def gain(contents: Contents) -> Gain | None:
    """Returns the comparison of the best iteration with iteration 0 on the rows that both answered; None if they are
    the same or have no rows in common.
    """
    judged, best = contents.judged, contents.best_iteration
    if not judged or best is None or best.index == judged[0].index or best.judged is None:
        return None
    dataset = best.judged.dataset
    before, now = ({row.id: row.correct for row in each.answers.get(dataset, ())} for each in (judged[0], best))
    paired = compare(judged[0].index, dataset, before, now)
    return Gain(paired, p_value(paired.gained, paired.lost)) if paired else None


def describe_chance(value: float) -> str:
    """Writes a p-value as papers do."""
    return "p < .001" if value < SMALLEST_CHANCE else f"p = {value:.3f}".replace("0.", ".", 1)


def ending(contents: Contents) -> str:
    """Says why the loop ended, or which step is next."""
    state = contents.state
    if isinstance(state, Finished):
        return f"{state.reason}: {state.message}"
    if state is None:
        return ""
    return f"Not finished: next is {state.stage.value} of {describe_iteration(state.iteration)}"


def usage(iterations: Sequence[Iteration]) -> Usage:
    """Returns what the teacher was sent and wrote in all rounds."""
    return total_usage(*(each.generate.usage for each in iterations if each.generate))


def price(contents: Contents) -> str:
    """Returns the cost of teacher and GPUs, in the currency of the prices; '' if the run has no prices."""
    budget = contents.spec.budget
    if budget is None or budget.prices is None:
        return ""
    return f"{cost(Spent(usage(contents.iterations), contents.gpu_seconds), budget.prices):,.2f}"


def gpu_hours(contents: Contents) -> str:
    """Returns the GPU hours before the newest step; '' where no GPU was held."""
    return f"{contents.gpu_seconds / SECONDS_PER_HOUR:,.1f}" if contents.gpu_seconds else ""


def work_seconds(contents: Contents) -> float:
    """Returns how many seconds the attempts that ended the steps worked."""
    reports = (report for each in contents.iterations for report in (each.train, each.evaluate, each.generate))
    return sum(sum(report.seconds.values()) for report in reports if report)


def duration(seconds: float) -> str:
    """Writes a duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def warnings(contents: Contents) -> list[str]:
    """Returns what a reader has to know before believing the scores."""
    found = []
    best, inputs = contents.best, contents.inputs
    resolved = inputs.resolved if inputs else None
    if resolved and resolved.seed_count < FEW_SEEDS:
        found.append(f"The seed set has only {resolved.seed_count} rows.")
    if best:
        found += _doubts_about(best.metric)
    compared = gain(contents)
    if compared and not _is_beyond_chance(compared):
        rose = compared.paired.gained > compared.paired.lost
        found.append(
            f"{'The gain may be chance' if rose else 'There is no gain'}: the best iteration gained "
            f"{compared.paired.gained} rows and lost {compared.paired.lost} ({describe_chance(compared.chance)})."
        )
    if best and not contents.test:
        found.append(
            "There is no score on a test set: the best of several iterations was chosen by the rows that its score is "
            "computed on, so that score is a little too high. Set spec.data.test to measure it."
        )
    if isinstance(contents.state, Finished) and contents.state.reason == NO_MISTAKES:
        found.append(f"The student has no mistakes left to write for: {contents.state.message}.")
    found += [_acceptance(each) for each in contents.iterations if _has_low_acceptance(each)]
    return found


def _doubts_about(score: Metric) -> list[str]:
    found = []
    if score.dataset != "evaluation":
        found.append(
            f"Scores are on {score.dataset} rows, since there is no evaluation set: rows that the student was trained "
            "on say little about new ones. Set spec.data.evaluation."
        )
    if score.examples < FEW_ROWS:
        found.append(
            f"Scores are on only {score.examples} rows: the interval of {share(score.low)} to {share(score.high)} is "
            "wide, and a small gain cannot be told from chance."
        )
    return found


def _is_beyond_chance(compared: Gain) -> bool:
    return compared.paired.gained > compared.paired.lost and compared.chance <= LEVEL


def _has_low_acceptance(iteration: Iteration) -> bool:
    report = iteration.generate
    return bool(report and report.generated and report.kept < LOW_ACCEPTANCE * report.generated)


def _acceptance(iteration: Iteration) -> str:
    report = iteration.generate
    kept, generated = (report.kept, report.generated) if report else (0, 0)
    reasons = ", ".join(f"{reason} {count}" for reason, count in iteration.reasons.items())
    return f"Iteration {iteration.name} kept only {kept} of the teacher's {generated} rows ({reasons})."

"""PURE: decides when the loop ends, and which iteration is best.

`stop_rule` asks in turn: was the goal reached, is nothing left to write for, are all iterations done, has the score
plateaued. `best_iteration` picks the adapter that the run ends with, and `reference_iteration` the iteration that
others have to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.probing import FOLDS
from llm2llm.loop.signtest import is_better
from llm2llm.records import ACCURACY, POOL, Metric, Paired, Stage

JUDGED_ON = ("evaluation", "probe", "seed")
"""Datasets that the objective is computed on, in order of preference."""
NO_MISTAKES = "NoMistakes"
"""Reason of a loop that ends because there is nothing left to write for."""
DECIMALS = 4
"""Decimals that scores are compared with: a status keeps this many, and operator and local runner must choose alike."""


@dataclass(frozen=True)
class Finished:
    """The loop is over, with a CamelCase reason of the condition Complete and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Best:
    """The best iteration and the score that selected it."""

    iteration: int
    metric: Metric
    model_uri: str
    digest: str


def stop_rule(spec: AugmentationRunSpec, evaluations: Sequence[StepResult]) -> Finished | None:
    """Returns why the loop ends after the last of these evaluations, or None; they are in the order of their
    iterations.
    """
    last = evaluations[-1]
    iteration = last.step.iteration
    name = objective_name(spec, evaluations)
    score = objective_metric(last, name)
    goal = spec.objective.goal
    if goal is not None and Decimal(f"{score.value:.{DECIMALS}f}") >= Decimal(goal):
        return Finished(
            "GoalReached", f"{score.name} {score.value:.3f} on the {score.dataset} set reached the goal {goal}"
        )
    if _nothing_left_to_write(spec, evaluations):
        return Finished(NO_MISTAKES, f"{_describe_rows(spec, last)} right{_memorization_warning(spec, score)}")
    if iteration + 1 >= spec.max_iterations:
        kind = "probing iterations" if spec.errors_from == "Probe" else "iterations"
        return Finished("MaxIterationsReached", f"all {spec.max_iterations} {kind} are done")
    if spec.early_stopping and _has_plateaued(spec, evaluations, name):
        return Finished("Plateaued", f"no improvement in the last {spec.early_stopping.patience} iterations")
    return None


def _nothing_left_to_write(spec: AugmentationRunSpec, evaluations: Sequence[StepResult]) -> bool:
    """Returns whether there are no mistakes to write for; under `errorsFrom: Probe` all folds are needed to tell.

    An untargeted round is written for random seed rows, with or without mistakes, so it always has work.
    """
    if spec.generate.strategy == "Untargeted":
        return False
    newest = evaluations[-FOLDS:] if spec.errors_from == "Probe" else evaluations[-1:]
    enough = len(newest) == FOLDS or spec.errors_from != "Probe"
    return enough and all(outcome.mistakes == 0 for outcome in newest)


def _describe_rows(spec: AugmentationRunSpec, last: StepResult) -> str:
    if spec.errors_from == "Probe":
        return f"the last {FOLDS} iterations got every fold of the seed set"
    synthetic = any(metric.dataset == "synthetic" for metric in last.metrics)
    return f"iteration {last.step.iteration} got every seed {'and synthetic ' if synthetic else ''}example"


def _memorization_warning(spec: AugmentationRunSpec, score: Metric) -> str:
    """Returns a warning if the seed rows are right and the evaluation set lags by more than its interval."""
    if spec.errors_from == "Seed" and score.dataset == "evaluation" and score.high < 1.0:
        return (
            f", but {score.name} on the evaluation set is {score.value:.3f}: the student may have memorized the seed "
            "set instead of learning the task; a run with errorsFrom: Probe takes its mistakes from seed rows that "
            "the student was not trained on"
        )
    return ""


def _has_plateaued(spec: AugmentationRunSpec, evaluations: Sequence[StepResult], name: str) -> bool:
    """Returns whether none of the last `patience` iterations improved.

    Accuracy is compared row by row. An iteration improves if two things hold. Of the rows on which it and the iteration
    to beat (`reference_iteration`) differ, it gained more than chance explains (`signtest.is_better`, a one-sided exact
    sign test at .05). And its rows gained minus rows lost exceed what the iteration to beat had when these `patience`
    iterations began by at least `minDelta` of the rows, and by one row. Neither is enough alone: accuracies of equal
    students swing by more than a usual minDelta, and with many rows even a gain that is not worth training for is more
    than chance.

    There is no such test for a macro-F1, and rows of different sets cannot be paired. There, and if a report of an
    older image has no pairs, a score improves if it exceeds the best one before the window by `minDelta`, and by one
    row's worth.
    """
    if spec.early_stopping is None:
        return False
    patience = spec.early_stopping.patience
    if len(evaluations) <= patience:
        return False
    window = evaluations[-patience:]
    min_delta = float(spec.early_stopping.min_delta)
    pairs = [outcome.paired for outcome in window if outcome.paired]
    if name == ACCURACY and len(pairs) == patience:
        return not _gained_enough(pairs, min_delta)
    scores = [objective_metric(outcome, name) for outcome in evaluations]
    smallest = max(min_delta, 1 / max(1, scores[-1].examples))
    best_before = max(score.value for score in scores[:-patience])
    return all(score.value < best_before + smallest - 1e-12 for score in scores[-patience:])


def _gained_enough(pairs: Sequence[Paired], min_delta: float) -> bool:
    """Adds up the gains: what one iteration is ahead of the one to beat, the next one to beat already has."""
    ahead = 0
    for paired in pairs:
        if is_better(paired.gained, paired.lost):
            ahead += paired.gained - paired.lost
            if ahead >= max(1.0, min_delta * paired.examples - 1e-9):
                return True
    return False


def reference_iteration(evaluations: Sequence[StepResult]) -> int | None:
    """Returns the iteration that the next one is compared with, row by row; None before there is one.

    It is the first one, and then each newer one that was better than the one to beat before it. It is not simply the
    one with the highest score, which moves with every lucky swing: a run that gains a little in each iteration would
    never be seen to gain, each step being too small to be more than chance. Against a fixed iteration small steps add
    up. It depends on nothing that may change during a run (not on `objective`, nor on `minDelta`), so an evaluation
    always has the same parents.
    """
    reference: StepResult | None = None
    for outcome in evaluations:
        if reference is None or _beats(outcome, reference):
            reference = outcome
    return reference.step.iteration if reference else None


def _beats(outcome: StepResult, reference: StepResult) -> bool:
    if outcome.paired:
        return is_better(outcome.paired.gained, outcome.paired.lost)
    # the report of an older image has no pairs
    score, other = objective_metric(outcome).value, objective_metric(reference).value
    return round(score, DECIMALS) > round(other, DECIMALS)


def objective_name(spec: AugmentationRunSpec, evaluations: Sequence[StepResult]) -> str:
    """Returns the metric that these evaluations are compared by: the objective's, if all of them reported it.

    Otherwise accuracy, which every evaluation reports: scores of different metrics are never compared with each other.
    """
    wanted = spec.objective.metric
    reported_by_all = all(any(metric.name == wanted for metric in outcome.metrics) for outcome in evaluations)
    return wanted if reported_by_all else ACCURACY


def objective_metric(outcome: StepResult, name: str = ACCURACY) -> Metric:
    """Returns the score that an iteration is judged by: on the evaluation set, else on the seed set.

    Raises:
        ValueError: the evaluation reported no such score.
    """
    by_dataset = {metric.dataset: metric for metric in outcome.metrics if metric.name == name}
    for dataset in JUDGED_ON:
        if dataset in by_dataset:
            return by_dataset[dataset]
    raise ValueError(f"the evaluation of iteration {outcome.step.iteration} reported no {name}")


def pool_size(metrics: Sequence[Metric]) -> int:
    """Returns the number of rows that an evaluation's mistakes are counted among; 0 if it did not report it."""
    return sum(metric.examples for metric in metrics if metric.name == ACCURACY and metric.dataset in POOL)


def best_iteration(spec: AugmentationRunSpec, outcomes: Sequence[StepResult], *, ended: bool = False) -> Best | None:
    """Returns the iteration with the highest score; of equal ones the earliest, because it cost less.

    Under `errorsFrom: Probe` it is the newest closing iteration, whatever its score: the others left out rows on
    purpose.

    Args:
        spec: the run's spec.
        outcomes: one for each committed step.
        ended: whether no more training follows. A probing run that ends without its closing iteration (its budget is
            spent) then has no better adapter than that of its best probing iteration.
    """
    done = {outcome.step: outcome for outcome in outcomes}
    evaluations = evaluations_of(outcomes)
    if spec.errors_from == "Probe":
        closings = [outcome for outcome in evaluations if outcome.step.closing]
        evaluations = closings[-1:] or (evaluations if ended else [])
    name = objective_name(spec, evaluations)
    best: Best | None = None
    for outcome in evaluations:
        trained = done.get(StepId(Stage.TRAIN, outcome.step.iteration))
        score = objective_metric(outcome, name)
        if trained and (best is None or round(score.value, DECIMALS) > round(best.metric.value, DECIMALS)):
            best = Best(outcome.step.iteration, score, trained.model_uri, trained.digest)
    return best


def evaluations_of(outcomes: Sequence[StepResult]) -> list[StepResult]:
    """Returns the evaluations among these outcomes, in the order of their iterations."""
    evaluations = [outcome for outcome in outcomes if outcome.step.stage is Stage.EVALUATE]
    return sorted(evaluations, key=lambda outcome: outcome.step.iteration)

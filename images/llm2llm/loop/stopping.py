"""PURE: when the loop ends, and which iteration is best."""

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
"""Datasets that the objective is looked for on, the best first."""
DECIMALS = 4
"""Of a score, wherever two are compared: a status keeps so many, and operator and local runner must choose alike."""


@dataclass(frozen=True)
class Finished:
    """The loop is over, with a CamelCase reason of the condition Complete and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Best:
    """The best iteration and the score that chose it."""

    iteration: int
    metric: Metric
    model_uri: str
    digest: str


def stop_rule(spec: AugmentationRunSpec, evaluations: Sequence[StepResult]) -> Finished | None:
    """Whether the loop ends after the last of these evaluations; they are in the order of their iterations."""
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
        return Finished("NoMistakes", f"{_describe_rows(spec, last)} right{_memorization_warning(spec, score)}")
    if iteration + 1 >= spec.max_iterations:
        kind = "probing iterations" if spec.errors_from == "Probe" else "iterations"
        return Finished("MaxIterationsReached", f"all {spec.max_iterations} {kind} are done")
    if spec.early_stopping and _has_plateaued(spec, evaluations, name):
        return Finished("Plateaued", f"no improvement in the last {spec.early_stopping.patience} iterations")
    return None


def _nothing_left_to_write(spec: AugmentationRunSpec, evaluations: Sequence[StepResult]) -> bool:
    """Whether nothing is left to write for; under `errorsFrom: Probe` one fold alone says nothing of the others.

    An untargeted round is written for random seed rows, mistakes or none, so it is never out of work.
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
    """A warning where the seeds are right and the evaluation set lags by more than its interval."""
    if spec.errors_from == "Seed" and score.dataset == "evaluation" and score.high < 1.0:
        return (
            f", but {score.name} on the evaluation set is {score.value:.3f}: the student may have memorized the seed "
            "set instead of learning the task; a run with errorsFrom: Probe takes its mistakes from seed rows that "
            "the student was not trained on"
        )
    return ""


def _has_plateaued(spec: AugmentationRunSpec, evaluations: Sequence[StepResult], name: str) -> bool:
    """Whether none of the last `patience` iterations improved.

    Accuracy is judged row by row. An iteration improved if, of the rows on which it and the iteration to beat
    (`reference_iteration`) differ, it gained more than chance explains (`signtest.is_better`, a one-sided exact sign
    test at .05), and if it has, less what it lost, at least `minDelta` of the rows, and one row, more than the one to
    beat had when these `patience` iterations began. Neither is enough alone: accuracies of equal students swing by
    more than a usual minDelta, and with many rows a gain that nobody wants to train for is more than chance.

    A macro-F1 has no such test, and rows of one iteration only cannot be paired: there, and where a report of an older
    image tells no pairs, a score above the best before the window by `minDelta`, and by one row's worth, improves.
    """
    if spec.early_stopping is None:
        return False
    patience = spec.early_stopping.patience
    if len(evaluations) <= patience:
        return False
    window = evaluations[-patience:]
    least = float(spec.early_stopping.min_delta)
    pairs = [outcome.paired for outcome in window if outcome.paired]
    if name == ACCURACY and len(pairs) == patience:
        return not _gained_enough(pairs, least)
    scores = [objective_metric(outcome, name) for outcome in evaluations]
    smallest = max(least, 1 / max(1, scores[-1].examples))
    best_before = max(score.value for score in scores[:-patience])
    return all(score.value < best_before + smallest - 1e-12 for score in scores[-patience:])


def _gained_enough(pairs: Sequence[Paired], least: float) -> bool:
    """Rows right add up: what one iteration is ahead of the one to beat, the next to beat has already."""
    ahead = 0
    for paired in pairs:
        if is_better(paired.gained, paired.lost):
            ahead += paired.gained - paired.lost
            if ahead >= max(1.0, least * paired.examples - 1e-9):
                return True
    return False


def reference_iteration(evaluations: Sequence[StepResult]) -> int | None:
    """The iteration that the one after these is compared with row by row, None before there is one.

    The first; from then on the newest that was better than the one to beat before it. Not simply the one with the
    highest score: that one moves with every lucky swing, so that a run which gains a little in each iteration would
    never be seen to gain, each step being too small to be more than chance. Against a standing iteration small steps
    add up. It depends on nothing that may change while a run goes on (not on `objective`, nor on `minDelta`), so an
    evaluation has the same parents whenever it is asked for.
    """
    standing: StepResult | None = None
    for outcome in evaluations:
        if standing is None or _beats(outcome, standing):
            standing = outcome
    return standing.step.iteration if standing else None


def _beats(outcome: StepResult, standing: StepResult) -> bool:
    if outcome.paired:
        return is_better(outcome.paired.gained, outcome.paired.lost)
    # an older image told no pairs
    score, other = objective_metric(outcome).value, objective_metric(standing).value
    return round(score, DECIMALS) > round(other, DECIMALS)


def objective_name(spec: AugmentationRunSpec, evaluations: Sequence[StepResult]) -> str:
    """Name of the metric that these evaluations are compared by: the objective's, where each of them told it.

    Otherwise accuracy, which every evaluation tells: scores of different names are never compared with each other.
    """
    wanted = spec.objective.metric
    told = all(any(metric.name == wanted for metric in outcome.metrics) for outcome in evaluations)
    return wanted if told else ACCURACY


def objective_metric(outcome: StepResult, name: str = ACCURACY) -> Metric:
    """The score that an iteration is judged by: on the evaluation set, else on the seed set.

    Raises:
        ValueError: the evaluation told no such score.
    """
    by_dataset = {metric.dataset: metric for metric in outcome.metrics if metric.name == name}
    for dataset in JUDGED_ON:
        if dataset in by_dataset:
            return by_dataset[dataset]
    raise ValueError(f"the evaluation of iteration {outcome.step.iteration} reported no {name}")


def pool_size(metrics: Sequence[Metric]) -> int:
    """How many rows an evaluation's mistakes are among; 0 where it did not tell."""
    return sum(metric.examples for metric in metrics if metric.name == ACCURACY and metric.dataset in POOL)


def best_iteration(spec: AugmentationRunSpec, outcomes: Sequence[StepResult], *, ended: bool = False) -> Best | None:
    """The iteration with the highest score; of equal ones the earliest, because it cost less.

    Under `errorsFrom: Probe` the newest closing iteration, whatever it scores: the others left out rows on purpose.

    Args:
        ended: nothing more will be trained. A probing run that ends without its closing iteration (its budget is spent)
            has then no better adapter than that of its best probing iteration.
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
    """The evaluations among these outcomes, in the order of their iterations."""
    found = [outcome for outcome in outcomes if outcome.step.stage is Stage.EVALUATE]
    return sorted(found, key=lambda outcome: outcome.step.iteration)

"""The loop, as a pure function of the spec and the results so far (LLM2LLM, algorithm 1).

The operator and the local runner both ask `next_step` and nothing else, so a run means the same with and without a
cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from llm2llm.api import AugmentationRunSpec
from llm2llm.layout import INPUTS, step_folder
from llm2llm.records import Metric, Report, Stage


@dataclass(frozen=True)
class StepId:
    """One (iteration, stage) of a run; Prepare is of iteration 0, Test of the one whose adapter it scores."""

    stage: Stage
    iteration: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a committed step told: the part of its report that later decisions need."""

    step: StepId
    digest: str
    metrics: tuple[Metric, ...] = ()
    mistakes: int = 0
    kept: int = 0
    model_uri: str = ""

    @classmethod
    def of(cls, report: Report) -> Outcome:
        """The outcome that a successful report tells."""
        return cls(
            step=StepId(report.stage, report.iteration),
            digest=report.digest,
            metrics=report.metrics,
            mistakes=report.mistakes,
            kept=report.kept,
            model_uri=report.model_uri,
        )


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


def next_step(spec: AugmentationRunSpec, outcomes: Sequence[Outcome]) -> StepId | Finished:
    """What comes after these committed steps.

    The newest iteration decides, so an iteration that has begun is always evaluated, also when `maxIterations` was
    lowered below it, and a finished run goes on where it ended when `maxIterations` is raised.

    Args:
        spec: the run's spec, as it is now: what changed in it acts at the next decision.
        outcomes: one for each committed step, in any order.
    """
    done = {outcome.step: outcome for outcome in outcomes}
    if StepId(Stage.PREPARE) not in done:
        return StepId(Stage.PREPARE)
    iteration = max((step.iteration for step in done if step.stage is Stage.TRAIN), default=0)
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        if StepId(stage, iteration) not in done:
            return StepId(stage, iteration)
    finished = stop_rule(spec, [done[StepId(Stage.EVALUATE, i)] for i in range(iteration + 1)])
    if finished:
        return final_test(spec, outcomes) or finished
    if StepId(Stage.GENERATE, iteration) not in done:
        return StepId(Stage.GENERATE, iteration)
    return StepId(Stage.TRAIN, iteration + 1)


def final_test(spec: AugmentationRunSpec, outcomes: Sequence[Outcome]) -> StepId | None:
    """The step that scores the best adapter on the test set, None where it is done or there is nothing to score.

    A run that goes on after its end is scored again only if another iteration is best by then.
    """
    best = best_iteration(outcomes)
    if spec.data.test is None or best is None:
        return None
    step = StepId(Stage.TEST, best.iteration)
    return None if any(outcome.step == step for outcome in outcomes) else step


def stop_rule(spec: AugmentationRunSpec, evaluations: Sequence[Outcome]) -> Finished | None:
    """Whether the loop ends after the last of these evaluations; they are in the order of their iterations."""
    last = evaluations[-1]
    iteration = last.step.iteration
    score = objective_metric(last)
    goal = spec.objective.goal
    if goal is not None and Decimal(str(score.value)) >= Decimal(goal):
        return Finished(
            "GoalReached", f"{score.name} {score.value:.3f} on the {score.dataset} set reached the goal {goal}"
        )
    if last.mistakes == 0:
        return Finished("NoMistakes", f"iteration {iteration} got every seed example right{_memorised(last)}")
    if iteration + 1 >= spec.max_iterations:
        return Finished("MaxIterationsReached", f"all {spec.max_iterations} iterations are done")
    if spec.early_stopping and _plateaued(spec, evaluations):
        return Finished("Plateaued", f"no improvement in the last {spec.early_stopping.patience} iterations")
    return None


def _memorised(last: Outcome) -> str:
    """A warning where the seeds are right and the evaluation set lags by more than its interval."""
    score = objective_metric(last)
    if score.dataset == "evaluation" and score.high < 1.0:
        return (
            f", while {score.name} on the evaluation set is {score.value:.3f}: "
            "the seeds may be memorised rather than the task learnt"
        )
    return ""


def _plateaued(spec: AugmentationRunSpec, evaluations: Sequence[Outcome]) -> bool:
    if spec.early_stopping is None:
        return False
    patience = spec.early_stopping.patience
    scores = [objective_metric(outcome) for outcome in evaluations]
    if len(scores) <= patience:
        return False
    smallest = max(float(spec.early_stopping.min_delta), 1 / max(1, scores[-1].examples))
    best_before = max(score.value for score in scores[:-patience])
    return all(score.value < best_before + smallest - 1e-12 for score in scores[-patience:])


def objective_metric(outcome: Outcome) -> Metric:
    """The score that chooses the best iteration: accuracy on the evaluation set, else on the seed set.

    Raises:
        ValueError: the evaluation told no accuracy.
    """
    by_dataset = {metric.dataset: metric for metric in outcome.metrics if metric.name == "accuracy"}
    for dataset in ("evaluation", "seed"):
        if dataset in by_dataset:
            return by_dataset[dataset]
    raise ValueError(f"the evaluation of iteration {outcome.step.iteration} told no accuracy")


def best_iteration(outcomes: Sequence[Outcome]) -> Best | None:
    """The iteration with the highest score; of equal ones the earliest, because it cost less."""
    done = {outcome.step: outcome for outcome in outcomes}
    evaluations = sorted(
        (outcome for outcome in outcomes if outcome.step.stage is Stage.EVALUATE), key=lambda o: o.step.iteration
    )
    best: Best | None = None
    for outcome in evaluations:
        trained = done.get(StepId(Stage.TRAIN, outcome.step.iteration))
        score = objective_metric(outcome)
        if trained and (best is None or score.value > best.metric.value):
            best = Best(outcome.step.iteration, score, trained.model_uri, trained.digest)
    return best


def parents(spec: AugmentationRunSpec, step: StepId, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Folder to digest of every committed output that a step reads.

    Train reads the inputs, all synthetic sets before it, and the adapter that it starts from where there is one;
    Evaluate and Test the inputs and the adapter; Generate the inputs, its evaluation and the earlier synthetic sets
    (duplicates are searched for over all rounds).
    """
    done = {outcome.step: outcome.digest for outcome in outcomes}
    if step.stage is Stage.PREPARE:
        return {}
    needed = [StepId(Stage.PREPARE)]
    if step.stage in (Stage.TRAIN, Stage.GENERATE):
        needed += [StepId(Stage.GENERATE, earlier) for earlier in range(step.iteration)]
    if step.stage is Stage.TRAIN and step.iteration and spec.start_from == "PreviousIteration":
        needed.append(StepId(Stage.TRAIN, step.iteration - 1))
    if step.stage in (Stage.EVALUATE, Stage.TEST):
        needed.append(StepId(Stage.TRAIN, step.iteration))
    if step.stage is Stage.GENERATE:
        needed.append(StepId(Stage.EVALUATE, step.iteration))
    return {step_folder(parent.stage, parent.iteration): done[parent] for parent in needed}


def expected_steps(spec: AugmentationRunSpec) -> int:
    """Steps of a run that uses all its iterations, for a progress bar."""
    return 3 * spec.max_iterations + (spec.data.test is not None)


__all__ = [
    "INPUTS",
    "Best",
    "Finished",
    "Outcome",
    "StepId",
    "best_iteration",
    "expected_steps",
    "final_test",
    "next_step",
    "objective_metric",
    "parents",
    "stop_rule",
]

"""The loop, as a pure function of the spec and the results so far (LLM2LLM, algorithm 1).

The operator and the local runner both ask `next_step` and nothing else, so a run means the same with and without a
cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm2llm.api import AugmentationRunSpec
from llm2llm.layout import step_folder
from llm2llm.outcomes import Outcome, StepId
from llm2llm.records import Stage
from llm2llm.stopping import (
    Best,
    Finished,
    best_iteration,
    evaluations_of,
    objective_metric,
    pool_size,
    stop_rule,
    to_beat,
)


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
    best = best_iteration(spec, outcomes)
    if spec.data.test is None or best is None:
        return None
    step = StepId(Stage.TEST, best.iteration)
    return None if any(outcome.step == step for outcome in outcomes) else step


def parents(spec: AugmentationRunSpec, step: StepId, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Folder to digest of every committed output that a step reads.

    Train reads the inputs, all synthetic sets before it, and the adapter that it starts from where there is one;
    Evaluate and Test the inputs and the adapter, Evaluate also the synthetic sets whose mistakes count and the
    evaluations that it is compared with (the iteration to beat, and the one before); Generate the inputs, its
    evaluation and the earlier synthetic sets (duplicates are searched for over all rounds).
    """
    done = {outcome.step: outcome.digest for outcome in outcomes}
    if step.stage is Stage.PREPARE:
        return {}
    needed = [StepId(Stage.PREPARE)]
    if step.stage in (Stage.TRAIN, Stage.GENERATE) or (
        step.stage is Stage.EVALUATE and spec.augment_from == "SeedAndSynthetic"
    ):
        needed += [StepId(Stage.GENERATE, earlier) for earlier in range(step.iteration)]
    if step.stage is Stage.TRAIN and step.iteration and spec.start_from == "PreviousIteration":
        needed.append(StepId(Stage.TRAIN, step.iteration - 1))
    if step.stage in (Stage.EVALUATE, Stage.TEST):
        needed.append(StepId(Stage.TRAIN, step.iteration))
    if step.stage is Stage.EVALUATE:
        needed += _compared_with(step, outcomes)
    if step.stage is Stage.GENERATE:
        needed.append(StepId(Stage.EVALUATE, step.iteration))
    return {step_folder(parent.stage, parent.iteration): done[parent] for parent in needed}


def _compared_with(step: StepId, outcomes: Sequence[Outcome]) -> list[StepId]:
    """The evaluations whose verdicts this one's are compared with, row by row."""
    before = [outcome for outcome in evaluations_of(outcomes) if outcome.step.iteration < step.iteration]
    standing = to_beat(before)
    iterations = {standing, before[-1].step.iteration} if standing is not None else set()
    return [StepId(Stage.EVALUATE, iteration) for iteration in sorted(iterations)]


def expected_steps(spec: AugmentationRunSpec) -> int:
    """Steps of a run that uses all its iterations, for a progress bar."""
    return 3 * spec.max_iterations + (spec.data.test is not None)


__all__ = [
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
    "pool_size",
    "stop_rule",
]

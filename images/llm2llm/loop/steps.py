"""Decides the next step of the loop, as a pure function of the spec and the results so far (LLM2LLM, algorithm 1).

The operator and the local runner both call `next_step` and nothing else, so a run means the same with and without a
cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import CLOSING, StepId, StepResult
from llm2llm.loop.stages import step_folder
from llm2llm.loop.stopping import Finished, best_iteration, evaluations_of, reference_iteration, stop_rule
from llm2llm.records import Stage


def next_step(spec: AugmentationRunSpec, outcomes: Sequence[StepResult]) -> StepId | Finished:
    """Returns the step that comes after these committed steps, or how the run finishes.

    The newest iteration decides. So an iteration that has begun is always evaluated, even if `maxIterations` was
    lowered below it, and a finished run continues where it ended when `maxIterations` is raised.

    Under `errorsFrom: Probe` the stop rules look at the probing iterations; when one applies, the closing iteration
    follows.

    Args:
        spec: the run's spec, as it is now: a change takes effect at the next decision.
        outcomes: one for each committed step, in any order.
    """
    done = {outcome.step: outcome for outcome in outcomes}
    if StepId(Stage.PREPARE) not in done:
        return StepId(Stage.PREPARE)
    iteration = newest_iteration(outcomes)
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        if StepId(stage, iteration) not in done:
            return StepId(stage, iteration)
    finished = stop_rule(spec, [done[StepId(Stage.EVALUATE, i)] for i in range(iteration + 1)])
    if finished:
        return closing_step(spec, outcomes) or final_test(spec, outcomes) or finished
    if StepId(Stage.GENERATE, iteration) not in done:
        return StepId(Stage.GENERATE, iteration)
    return StepId(Stage.TRAIN, iteration + 1)


def awaits_approval(spec: AugmentationRunSpec, step: StepId) -> bool:
    """Returns whether a step would train on rows that no person has approved yet."""
    approval = spec.approval
    return approval.mode == "BeforeTraining" and step.stage is Stage.TRAIN and step.rounds > approval.approved_rounds


def describe_release(step: StepId, where: str) -> str:
    """Tells a person what to do before a step that awaits approval; `where` is the folder of the run's artifacts."""
    return (
        f"iteration {step.rounds - 1} has written its examples: review them below {where}, then set "
        f"spec.approval.approvedRounds to {step.rounds}"
    )


def newest_iteration(outcomes: Sequence[StepResult]) -> int:
    """Returns the newest iteration that has begun, not counting closing ones; 0 if none has."""
    trained = (outcome.step for outcome in outcomes if outcome.step.stage is Stage.TRAIN and not outcome.step.closing)
    return max((step.iteration for step in trained), default=0)


def closing_step(spec: AugmentationRunSpec, outcomes: Sequence[StepResult]) -> StepId | None:
    """Returns the next step of the closing iteration after the iterations so far; None if it is done or none follows.

    The closing iteration trains on the whole seed set and all rounds, is evaluated, and generates nothing.
    """
    if spec.errors_from != "Probe":
        return None
    done = {outcome.step for outcome in outcomes}
    closing = CLOSING + newest_iteration(outcomes) + 1
    steps = (StepId(stage, closing) for stage in (Stage.TRAIN, Stage.EVALUATE))
    return next((step for step in steps if step not in done), None)


def ending_step(
    spec: AugmentationRunSpec, outcomes: Sequence[StepResult], refused: StepId | None = None
) -> StepId | None:
    """Returns the next step of a run that has to end with its results so far (`onExceeded: Complete`).

    First the closing iteration, which needs no teacher, then the test; None when both are done or impossible.

    Args:
        spec: the run's spec.
        outcomes: one for each committed step.
        refused: the step that the budget does not allow. If it belongs to the closing iteration, only the test remains.
    """
    closing = closing_step(spec, outcomes)
    if refused is not None and (refused.stage is Stage.TEST or refused == closing):
        closing = None
    test = None if refused is not None and refused.stage is Stage.TEST else final_test(spec, outcomes, ended=True)
    return closing or test


def final_test(spec: AugmentationRunSpec, outcomes: Sequence[StepResult], *, ended: bool = False) -> StepId | None:
    """Returns the step that scores the best adapter on the test set; None if it is done or there is nothing to score.

    A run that continues after its end is scored again only if another iteration is then best. `ended` as in
    `best_iteration`.
    """
    best = best_iteration(spec, outcomes, ended=ended)
    if spec.data.test is None or best is None:
        return None
    step = StepId(Stage.TEST, best.iteration)
    return None if any(outcome.step == step for outcome in outcomes) else step


def parents(spec: AugmentationRunSpec, step: StepId, outcomes: Sequence[StepResult]) -> dict[str, str]:
    """Returns folder to digest of every committed output that a step reads.

    Train reads the inputs, all earlier synthetic sets, and the adapter that it starts from, if any. Evaluate and Test
    read the inputs and the adapter; Evaluate also reads the synthetic sets whose mistakes count and the evaluations
    that it is compared with (the iteration to beat, and the previous one). Generate reads the inputs, its evaluation
    and the earlier synthetic sets (duplicates are searched for over all rounds).
    """
    done = {outcome.step: outcome.digest for outcome in outcomes}
    if step.stage is Stage.PREPARE:
        return {}
    needed = [StepId(Stage.PREPARE)]
    evaluates_synthetic = step.stage is Stage.EVALUATE and spec.augment_from == "SeedAndSynthetic" and not step.closing
    if step.stage in (Stage.TRAIN, Stage.GENERATE) or evaluates_synthetic:
        needed += [StepId(Stage.GENERATE, earlier) for earlier in range(step.rounds)]
    if step.stage is Stage.TRAIN and step.iteration and spec.start_from == "PreviousIteration":
        needed.append(StepId(Stage.TRAIN, step.iteration - 1))
    if step.stage in (Stage.EVALUATE, Stage.TEST):
        needed.append(StepId(Stage.TRAIN, step.iteration))
    if step.stage is Stage.EVALUATE:
        needed += _evaluations_to_compare(spec, step, outcomes)
    if step.stage is Stage.GENERATE:
        needed.append(StepId(Stage.EVALUATE, step.iteration))
    return {step_folder(parent.stage, parent.iteration): done[parent] for parent in needed}


def _evaluations_to_compare(spec: AugmentationRunSpec, step: StepId, outcomes: Sequence[StepResult]) -> list[StepId]:
    """Returns the evaluations that this one's verdicts are compared with, row by row.

    Consecutive probing iterations answer different seed rows, so only the evaluation set can be compared.
    """
    earlier = [outcome for outcome in evaluations_of(outcomes) if outcome.step.iteration < step.iteration]
    reference = reference_iteration(earlier)
    if reference is None or step.closing:
        return []
    if spec.errors_from == "Probe":
        return [StepId(Stage.EVALUATE, reference)] if spec.data.evaluation else []
    return [StepId(Stage.EVALUATE, iteration) for iteration in sorted({reference, earlier[-1].step.iteration})]


def iterations_in_all(spec: AugmentationRunSpec) -> int:
    """Returns the number of iterations of a run that stops only because of maxIterations."""
    return spec.max_iterations + (spec.errors_from == "Probe")


def expected_steps(spec: AugmentationRunSpec) -> int:
    """Returns the number of steps of a run that uses all its iterations, for a progress bar."""
    closing = 2 if spec.errors_from == "Probe" else 0
    return 3 * spec.max_iterations + closing + (spec.data.test is not None)

"""The loop, as a pure function of the spec and the results so far (LLM2LLM, algorithm 1).

The operator and the local runner both ask `next_step` and nothing else, so a run means the same with and without a
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
    """What comes after these committed steps.

    The newest iteration decides, so an iteration that has begun is always evaluated, also when `maxIterations` was
    lowered below it, and a finished run goes on where it ended when `maxIterations` is raised.

    Under `errorsFrom: Probe` the stop rules look at the probing iterations; what fires is followed by the closing one.

    Args:
        spec: the run's spec, as it is now: what changed in it acts at the next decision.
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
    """Whether a step would train on rows that no person has released yet."""
    approval = spec.approval
    return approval.mode == "BeforeTraining" and step.stage is Stage.TRAIN and step.rounds > approval.approved_rounds


def describe_release(step: StepId, where: str) -> str:
    """What a person has to do before a step that awaits approval; `where` the run's artifacts lie."""
    return (
        f"iteration {step.rounds - 1} has written its examples: review them below {where}, then set "
        f"spec.approval.approvedRounds to {step.rounds}"
    )


def newest_iteration(outcomes: Sequence[StepResult]) -> int:
    """The newest that began, closing ones not counted; 0 before there is one."""
    trained = (outcome.step for outcome in outcomes if outcome.step.stage is Stage.TRAIN and not outcome.step.closing)
    return max((step.iteration for step in trained), default=0)


def closing_step(spec: AugmentationRunSpec, outcomes: Sequence[StepResult]) -> StepId | None:
    """What is left to do of the closing iteration after the iterations so far; None where nothing is, or none follows.

    It trains on the whole seed set and all rounds, is evaluated, and writes nothing.
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
    """What a run still does that has to end with what there is (its budget is spent, `onExceeded: Complete`).

    The closing iteration, which asks no teacher, then the test; None when both are done, or cannot be.

    Args:
        refused: the step that the budget does not allow. Is it of the closing iteration, only the test is left.
    """
    closing = closing_step(spec, outcomes)
    if refused is not None and (refused.stage is Stage.TEST or refused == closing):
        closing = None
    test = None if refused is not None and refused.stage is Stage.TEST else final_test(spec, outcomes, ended=True)
    return closing or test


def final_test(spec: AugmentationRunSpec, outcomes: Sequence[StepResult], *, ended: bool = False) -> StepId | None:
    """The step that scores the best adapter on the test set, None where it is done or there is nothing to score.

    A run that goes on after its end is scored again only if another iteration is best by then. `ended` as in
    `best_iteration`.
    """
    best = best_iteration(spec, outcomes, ended=ended)
    if spec.data.test is None or best is None:
        return None
    step = StepId(Stage.TEST, best.iteration)
    return None if any(outcome.step == step for outcome in outcomes) else step


def parents(spec: AugmentationRunSpec, step: StepId, outcomes: Sequence[StepResult]) -> dict[str, str]:
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
    asks_synthetic = step.stage is Stage.EVALUATE and spec.augment_from == "SeedAndSynthetic" and not step.closing
    if step.stage in (Stage.TRAIN, Stage.GENERATE) or asks_synthetic:
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
    """The evaluations whose verdicts this one's are compared with, row by row.

    Probing iterations are asked other seed rows than the one before, so only the evaluation set can be compared.
    """
    before = [outcome for outcome in evaluations_of(outcomes) if outcome.step.iteration < step.iteration]
    standing = reference_iteration(before)
    if standing is None or step.closing:
        return []
    if spec.errors_from == "Probe":
        return [StepId(Stage.EVALUATE, standing)] if spec.data.evaluation else []
    return [StepId(Stage.EVALUATE, iteration) for iteration in sorted({standing, before[-1].step.iteration})]


def iterations_in_all(spec: AugmentationRunSpec) -> int:
    """Iterations of a run that stops for nothing else than their number."""
    return spec.max_iterations + (spec.errors_from == "Probe")


def expected_steps(spec: AugmentationRunSpec) -> int:
    """Steps of a run that uses all its iterations, for a progress bar."""
    closing = 2 if spec.errors_from == "Probe" else 0
    return 3 * spec.max_iterations + closing + (spec.data.test is not None)

"""`errorsFrom: Probe` as the loop sees it: probing iterations, then one that closes the run."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.keys import content_key
from llm2llm.loop.outcomes import CLOSING, StepId, StepResult, describe_iteration
from llm2llm.loop.probing import fold_of
from llm2llm.loop.steps import ending_step, expected_steps, next_step, parents
from llm2llm.loop.stopping import Finished, best_iteration
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(errorsFrom="Probe", **changes))


def outcome(step: StepId, mistakes: int = 3, value: float = 0.5) -> StepResult:
    metrics = (builders.accuracy(value),) if step.stage is Stage.EVALUATE else ()
    name = f"{step.stage.value[0]}{step.iteration}"
    return StepResult(step, name, metrics, mistakes if metrics else 0, model_uri=f"m{step.iteration}")


def played(run: AugmentationRunSpec, done: list[StepResult], **told: Any) -> Finished:
    """Does what the loop asks for until it is over; `done` has it all then."""
    while True:
        following = next_step(run, done)
        if isinstance(following, Finished):
            return following
        done.append(outcome(following, **told))


def names(done: list[StepResult]) -> list[str]:
    return [done_.digest for done_ in done]


def test_a_stop_rule_is_followed_by_one_closing_iteration_that_writes_nothing():
    done: list[StepResult] = []
    finished = played(spec(maxIterations=2), done)
    assert names(done) == ["P0", "T0", "E0", "G0", "T1", "E1", "T102", "E102"]
    assert finished == Finished("MaxIterationsReached", "all 2 probing iterations are done")
    assert describe_iteration(102) == "closing iteration (after 2)"


def test_the_closing_iteration_is_best_whatever_it_scores_and_no_other_ever_is():
    done: list[StepResult] = []
    run = spec(maxIterations=2, data={**builders.spec()["data"], "test": {"uri": "s3://b/test.jsonl"}})
    while (following := next_step(run, done)) != StepId(Stage.EVALUATE, 102):
        assert isinstance(following, StepId)
        assert best_iteration(run, done) is None
        done.append(outcome(following, value=0.9))
    done.append(outcome(StepId(Stage.EVALUATE, 102), value=0.4))
    best = best_iteration(run, done)
    assert best is not None
    assert (best.iteration, best.model_uri, best.metric.value) == (102, "m102", 0.4)
    assert next_step(run, done) == StepId(Stage.TEST, 102)


def test_the_closing_iteration_trains_on_all_rounds_and_is_compared_with_nothing():
    done: list[StepResult] = []
    run = spec(maxIterations=3, augmentFrom="SeedAndSynthetic")
    played(run, done)
    assert parents(run, StepId(Stage.TRAIN, 103), done) == {
        "inputs": "P0", "iterations/000/generate": "G0", "iterations/001/generate": "G1",
    }  # fmt: skip
    assert parents(run, StepId(Stage.EVALUATE, 103), done) == {"inputs": "P0", "iterations/103/train": "T103"}
    assert "iterations/000/evaluate" in parents(run, StepId(Stage.EVALUATE, 2), done)
    assert "iterations/001/evaluate" not in parents(run, StepId(Stage.EVALUATE, 2), done)


def test_without_an_evaluation_set_folds_are_not_compared():
    done: list[StepResult] = []
    run = spec(maxIterations=3, data={"seed": {"uri": "s3://b/seed.jsonl"}})
    played(run, done)
    assert parents(run, StepId(Stage.EVALUATE, 2), done) == {"inputs": "P0", "iterations/002/train": "T2"}


@pytest.mark.parametrize(
    ("mistakes", "over"),
    [
        pytest.param([0, 0, 0], False, id="three folds are not all"),
        pytest.param([0, 0, 0, 0], True, id="all four folds"),
        pytest.param([0, 0, 0, 1, 0, 0], False, id="a fold with a mistake is asked again before it counts"),
        pytest.param([1, 1, 0, 0, 0, 0], True, id="only the newest of each fold counts"),
    ],
)
def test_no_mistakes_takes_every_fold(mistakes: list[int], over: bool):
    run = spec(maxIterations=20)
    done = [StepResult(StepId(Stage.PREPARE), "P0")]
    for iteration, count in enumerate(mistakes):
        done += [outcome(StepId(stage, iteration), count) for stage in (Stage.TRAIN, Stage.EVALUATE)]
        done += [outcome(StepId(Stage.GENERATE, iteration))] if iteration + 1 < len(mistakes) else []
    last = len(mistakes) - 1
    assert next_step(run, done) == (StepId(Stage.TRAIN, CLOSING + last + 1) if over else StepId(Stage.GENERATE, last))
    if over:
        assert played(run, done).message == "the last 4 iterations got every fold of the seed set right"


def test_a_continued_run_goes_on_probing_where_it_was_and_closes_again():
    done: list[StepResult] = []
    played(spec(maxIterations=2), done)
    more = spec(maxIterations=3)
    assert next_step(more, done) == StepId(Stage.GENERATE, 1)
    assert best_iteration(more, done).iteration == 102  # type: ignore[union-attr]
    played(more, done)
    assert names(done)[8:] == ["G1", "T2", "E2", "T103", "E103"]
    assert best_iteration(more, done).iteration == 103  # type: ignore[union-attr]


def test_what_the_steps_of_a_continued_run_are_does_not_depend_on_when_it_was_continued():
    """The same folder, found by a run that had three iterations from the start (artifacts.key, the local runner)."""
    continued: list[StepResult] = []
    played(spec(maxIterations=2), continued)
    played(spec(maxIterations=3), continued)
    at_once: list[StepResult] = []
    played(spec(maxIterations=3), at_once)
    run = spec(maxIterations=3)
    for done in at_once:
        assert parents(run, done.step, continued) == parents(run, done.step, at_once)


def test_lowering_max_iterations_closes_after_the_iteration_in_progress():
    done = [StepResult(StepId(Stage.PREPARE), "P0")]
    for iteration in range(3):
        done += [outcome(StepId(stage, iteration)) for stage in (Stage.TRAIN, Stage.EVALUATE, Stage.GENERATE)]
    done.append(outcome(StepId(Stage.TRAIN, 3)))
    assert next_step(spec(maxIterations=1), done) == StepId(Stage.EVALUATE, 3)
    done.append(outcome(StepId(Stage.EVALUATE, 3)))
    assert next_step(spec(maxIterations=1), done) == StepId(Stage.TRAIN, 104)


def test_a_run_that_has_to_end_closes_first_and_else_ends_with_its_best_probing_iteration():
    run = spec(maxIterations=5, data={**builders.spec()["data"], "test": {"uri": "s3://b/test.jsonl"}})
    done = [StepResult(StepId(Stage.PREPARE), "P0")]
    for iteration, value in enumerate((0.7, 0.6)):
        done += [outcome(StepId(stage, iteration), value=value) for stage in (Stage.TRAIN, Stage.EVALUATE)]
        done += [outcome(StepId(Stage.GENERATE, iteration))] if not iteration else []
    generate, train, test = StepId(Stage.GENERATE, 1), StepId(Stage.TRAIN, 102), StepId(Stage.TEST, 0)
    assert ending_step(run, done, refused=generate) == train
    assert ending_step(run, done, refused=train) == test
    assert ending_step(run, done, refused=test) is None
    assert best_iteration(run, done) is None
    assert best_iteration(run, done, ended=True).iteration == 0  # type: ignore[union-attr]
    done += [outcome(train), outcome(StepId(Stage.EVALUATE, 102))]
    assert ending_step(run, done, refused=generate) == StepId(Stage.TEST, 102)
    plain = AugmentationRunSpec.model_validate(builders.spec())
    assert ending_step(plain, done[:3], refused=StepId(Stage.GENERATE, 0)) is None


def test_the_fold_is_in_the_keys_of_training_and_evaluation():
    def key(stage: Stage, iteration: int, errors_from: str) -> str:
        changed = builders.spec(errorsFrom=errors_from)
        return content_key(
            Step.of(StepDocument(stage=stage, iteration=iteration, namespace="n", run="r", run_uid="u", spec=changed))
        )

    assert [fold_of(spec(), iteration) for iteration in (0, 3, 4, 103)] == [0, 3, 0, None]
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        assert key(stage, 1, "Probe") != key(stage, 1, "Seed")
    assert key(Stage.EVALUATE, 1, "Probe") != key(Stage.EVALUATE, 2, "Probe")
    assert key(Stage.EVALUATE, 1, "Probe") == key(Stage.EVALUATE, 5, "Probe")


def test_the_progress_bar_knows_of_the_closing_iteration():
    assert expected_steps(spec(maxIterations=3)) == 11

"""When the loop ends, which iteration is best, and which one the others have to beat."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import evaluation

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stopping import Finished, best_iteration, objective_metric, pool_size, reference_iteration, stop_rule
from llm2llm.records import Stage


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**changes))


@pytest.mark.parametrize(
    ("values", "changes", "reason"),
    [
        pytest.param([0.5], {"maxIterations": 2}, None, id="goes on while nothing stops it"),
        pytest.param([0.5, 0.6], {"maxIterations": 2}, "MaxIterationsReached", id="ends after the last iteration"),
        pytest.param([0.5], {"maxIterations": 1}, "MaxIterationsReached", id="one iteration is plain fine-tuning"),
        pytest.param([0.81], {"maxIterations": 9, "objective": {"goal": "0.81"}}, "GoalReached", id="the goal is inclusive"),
        pytest.param([0.809], {"maxIterations": 9, "objective": {"goal": "0.81"}}, None, id="just below the goal goes on"),
        pytest.param([0.7, 0.69, 0.70, 0.70], {"maxIterations": 9, "earlyStopping": {"patience": 3}}, "Plateaued",
                     id="three iterations without a gain of minDelta"),
        pytest.param([0.7, 0.69, 0.70, 0.72], {"maxIterations": 9, "earlyStopping": {"patience": 3}}, None,
                     id="a gain in the last iteration goes on"),
        pytest.param([0.7, 0.69, 0.70], {"maxIterations": 9, "earlyStopping": {"patience": 3}}, None,
                     id="patience is not used up yet"),
        pytest.param([0.70, 0.705, 0.705, 0.705], {"maxIterations": 9, "earlyStopping": {"patience": 3, "minDelta": "0"}},
                     "Plateaued", id="less than one example of 100 is no improvement"),
    ],
)  # fmt: skip
def test_the_loop_ends(values: list[float], changes: dict[str, Any], reason: str | None):
    finished = stop_rule(spec(**changes), [evaluation(i, value) for i, value in enumerate(values)])
    assert (finished.reason if finished else None) == reason


def test_no_mistakes_speaks_of_what_was_asked():
    synthetic = builders.accuracy(1.0, "synthetic")
    last = StepResult(StepId(Stage.EVALUATE, 1), "e1", (builders.accuracy(1.0), synthetic), 0)
    finished = stop_rule(spec(augmentFrom="SeedAndSynthetic", maxIterations=9), [evaluation(0, 0.5), last])
    assert finished == Finished("NoMistakes", "iteration 1 got every seed and synthetic example right")


def test_no_mistakes_left_ends_the_loop_and_warns_when_the_evaluation_set_lags():
    finished = stop_rule(spec(), [evaluation(0, 0.6, mistakes=0)])
    assert finished is not None
    assert finished.reason == "NoMistakes"
    assert "memorized" in finished.message


def test_best_is_the_highest_score_and_of_equal_ones_the_earliest():
    done = [evaluation(0, 0.7), evaluation(1, 0.8), evaluation(2, 0.8)]
    done += [StepResult(StepId(Stage.TRAIN, i), f"t{i}", model_uri=f"m{i}") for i in range(3)]
    best = best_iteration(spec(), done)
    assert best is not None
    assert (best.iteration, best.model_uri, best.digest) == (1, "m1", "t1")


def labeled(**changes: Any) -> AugmentationRunSpec:
    return spec(task={"promptTemplate": "x", "grader": {"type": "Choice"}, "labels": ["a", "b"]}, **changes)


def with_f1(iteration: int, value: float, f1: float) -> StepResult:
    f1_metric = builders.accuracy(f1).model_copy(update={"name": "macroF1"})
    return StepResult(StepId(Stage.EVALUATE, iteration), f"e{iteration}", (builders.accuracy(value), f1_metric), 5)


def test_the_objective_s_metric_decides_goal_and_best():
    f1 = labeled(maxIterations=9, objective={"metric": "macroF1", "goal": "0.6"})
    done = [with_f1(0, 0.9, 0.5), with_f1(1, 0.8, 0.59)]
    trained = [StepResult(StepId(Stage.TRAIN, i), f"t{i}") for i in range(3)]
    assert stop_rule(f1, done) is None
    finished = stop_rule(f1, [*done, with_f1(2, 0.7, 0.61)])
    assert finished is not None
    assert finished.message == "macroF1 0.610 on the evaluation set reached the goal 0.6"
    best = best_iteration(f1, [*done, *trained])
    assert best is not None
    assert (best.iteration, best.metric.name, best.metric.value) == (1, "macroF1", 0.59)
    assert best_iteration(labeled(), [*done, *trained]).iteration == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("datasets", "judged_on"),
    [
        pytest.param(["seed", "evaluation"], "evaluation", id="the evaluation set, wherever there is one"),
        pytest.param(["synthetic", "seed"], "seed", id="else the seed set"),
        pytest.param(["probe"], "probe", id="or what of it was left out of training"),
    ],
)
def test_an_iteration_is_judged_on_the_best_set_that_it_was_asked(datasets: list[str], judged_on: str):
    metrics = tuple(builders.accuracy(0.5, dataset) for dataset in datasets)
    assert objective_metric(StepResult(StepId(Stage.EVALUATE, 0), "E0", metrics)).dataset == judged_on


def test_scores_of_different_names_are_not_compared():
    f1 = labeled(objective={"metric": "macroF1"})
    done = [evaluation(0, 0.9), with_f1(1, 0.8, 0.95), *(StepResult(StepId(Stage.TRAIN, i), f"t{i}") for i in range(2))]
    best = best_iteration(f1, done)
    assert best is not None
    assert (best.iteration, best.metric.name) == (0, "accuracy")


def test_early_stopping_judges_macro_f1_by_its_scores():
    f1 = labeled(maxIterations=9, objective={"metric": "macroF1"}, earlyStopping={"patience": 3})
    flat = [with_f1(i, 0.5 + i / 10, 0.7) for i in range(4)]
    assert stop_rule(f1, flat).reason == "Plateaued"  # type: ignore[union-attr]
    assert stop_rule(f1, [*flat[:3], with_f1(3, 0.5, 0.72)]) is None


STOPPING = {"maxIterations": 9, "earlyStopping": {"patience": 3, "minDelta": "0.005"}}


@pytest.mark.parametrize(
    ("pairs", "ends"),
    [
        pytest.param([(0, 25, 25), (0, 30, 24), (0, 28, 22)], True, id="gains that chance explains are none"),
        pytest.param(
            [(0, 25, 25), (0, 60, 24), (1, 28, 22)], False, id="a gain beyond chance within the window goes on"
        ),
        pytest.param([(0, 60, 24), (1, 25, 25), (1, 28, 22), (1, 24, 26)], True, id="one before the window does not"),
        pytest.param([(0, 9, 1), (1, 3, 3), (1, 3, 3)], True, id="beyond chance and below minDelta is no improvement"),
        pytest.param([(0, 9, 1), (1, 8, 0), (2, 3, 3)], False, id="two such add up"),
        pytest.param([(0, 9, 1), (1, 8, 0), (2, 3, 3), (2, 3, 3)], True, id="of which one was before the window"),
        pytest.param([(0, 12, 1), (1, 3, 3), (1, 3, 3)], False, id="beyond chance and at minDelta is one"),
    ],
)
def test_early_stopping_is_judged_row_by_row(pairs: list[tuple[int, int, int]], ends: bool):
    done = [evaluation(0, 0.5, examples=2000)]
    done += [evaluation(i, 0.5, examples=2000, paired=pair) for i, pair in enumerate(pairs, 1)]
    finished = stop_rule(spec(**STOPPING), done)
    assert (finished.reason if finished else None) == ("Plateaued" if ends else None)


def test_a_run_that_gains_a_little_each_time_is_seen_to_gain():
    """Each step is too small to be more than chance; against a standing iteration they add up."""
    small = [(0, 22, 14), (0, 36, 20), (0, 50, 26)]
    done = [evaluation(0, 0.5, examples=800)]
    done += [evaluation(i, 0.5 + i / 100, examples=800, paired=pair) for i, pair in enumerate(small, 1)]
    assert [reference_iteration(done[:n]) for n in range(5)] == [None, 0, 0, 2, 3]
    assert stop_rule(spec(**STOPPING), done) is None
    against_the_newest = [evaluation(i, 0.5, examples=800, paired=(i - 1, 22, 14)) for i in range(1, 4)]
    assert stop_rule(spec(**STOPPING), [done[0], *against_the_newest]).reason == "Plateaued"  # type: ignore[union-attr]


def test_reports_without_pairs_are_judged_by_their_scores():
    done = [evaluation(0, 0.7), evaluation(1, 0.69), evaluation(2, 0.70, paired=(0, 50, 2)), evaluation(3, 0.70)]
    assert stop_rule(spec(**STOPPING), done).reason == "Plateaued"  # type: ignore[union-attr]
    assert stop_rule(spec(**STOPPING), [*done[:3], evaluation(3, 0.72)]) is None
    assert reference_iteration([evaluation(0, 0.7), evaluation(1, 0.69), evaluation(2, 0.71)]) == 2


def test_scores_that_a_status_shows_alike_are_equal():
    """A status keeps four decimals: operator and local runner must not choose differently for the fifth."""
    done = [evaluation(0, 0.80001), evaluation(1, 0.80004)]
    done += [StepResult(StepId(Stage.TRAIN, i), f"t{i}") for i in range(2)]
    assert best_iteration(spec(), done).iteration == 0  # type: ignore[union-attr]
    assert reference_iteration(done[:2]) == 0
    goal = spec(maxIterations=9, objective={"goal": "0.8001"})
    assert stop_rule(goal, [evaluation(0, 0.80004)]) is None
    assert stop_rule(goal, [evaluation(0, 0.80006)]).reason == "GoalReached"  # type: ignore[union-attr]


def test_an_evaluation_set_that_is_right_as_far_as_it_can_tell_is_no_sign_of_memorizing():
    known, unknown = (
        StepResult(StepId(Stage.EVALUATE, 0), "e", (builders.accuracy(value),), 0) for value in (0.96, 0.94)
    )
    assert stop_rule(spec(), [known]) == Finished("NoMistakes", "iteration 0 got every seed example right")
    assert "accuracy on the evaluation set is 0.940: the student may have memorized" in str(
        stop_rule(spec(), [unknown])
    )


def test_an_evaluation_without_its_training_is_not_the_best():
    done = [evaluation(0, 0.7), evaluation(1, 0.9), StepResult(StepId(Stage.TRAIN, 0), "t0")]
    assert best_iteration(spec(), done).iteration == 0  # type: ignore[union-attr]
    assert best_iteration(spec(), done[:2]) is None


def test_an_evaluation_without_the_score_is_named():
    with pytest.raises(ValueError, match="the evaluation of iteration 3 reported no macroF1"):
        objective_metric(evaluation(3, 0.5), "macroF1")


def test_mistakes_are_counted_among_the_rows_that_the_teacher_writes_for():
    asked = [builders.accuracy(0.5, dataset, rows) for dataset, rows in {"seed": 40, "synthetic": 12}.items()]
    f1 = builders.accuracy(0.5, "seed", 40).model_copy(update={"name": "macroF1"})
    assert pool_size([*asked, f1, builders.accuracy(0.5, "evaluation", 100)]) == 52
    assert pool_size([builders.accuracy(0.5, "probe", 10)]) == 10
    assert pool_size([builders.accuracy(0.5, "evaluation", 100)]) == 0

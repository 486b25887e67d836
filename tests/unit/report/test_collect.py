"""What the report reads from a run's store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import builders
from tests.support.steps import commit_step, step_of

from llm2llm.layout import log_key
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.stopping import Finished
from llm2llm.records import Example, Prediction, Stage, to_jsonl
from llm2llm.report.collect import LOSSES, collect
from llm2llm.storage import LocalStore

SEEDS = [Example(id=f"s{number}", fields={"prompt": f"p{number}"}, completion="x") for number in range(2)]
ANSWERS = to_jsonl(Prediction(id=seed.id, output="said", correct=False, verdict="wrong") for seed in SEEDS)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Of a run with one evaluated iteration."""
    store = LocalStore(tmp_path / "run")
    commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": to_jsonl(SEEDS), "evaluation.jsonl": to_jsonl(SEEDS[:1])})
    commit_step(store, step_of(Stage.TRAIN))
    files = {f"predictions.{name}.jsonl": ANSWERS for name in ("seed", "evaluation")}
    commit_step(store, step_of(Stage.EVALUATE), files)
    return store


def test_an_iteration_has_its_answers_score_and_rows(store: LocalStore):
    rejected = {"id": "r", "reason": "leak", "detail": "d", "text": "t", "lineage": {"seed": "s0"}}
    files = {"rejected.jsonl": json.dumps(rejected).encode(), "synthetic.jsonl": to_jsonl(SEEDS[:1])}
    commit_step(store, step_of(Stage.GENERATE), files)
    contents = collect(step_of(Stage.GENERATE), store)

    [iteration] = contents.iterations
    assert {name: len(given) for name, given in iteration.answers.items()} == {
        "seed": 2,
        "probe": 0,
        "evaluation": 1 + 1,
    }
    assert iteration.judged == builders.accuracy(0.7)
    assert [row.id for row in iteration.kept] == ["s0"]
    assert iteration.reasons == {"leak": 1}
    assert iteration.rejected[0].seed == "s0"
    assert [seed.wrong for seed in contents.seeds] == [[0], [0]]
    assert [row.id for row in contents.held_out] == ["s0"]
    assert contents.best is not None
    assert contents.best_iteration == iteration
    assert contents.state == StepId(Stage.TRAIN, 1)


def test_the_end_of_the_loop_is_what_its_own_rule_says(store: LocalStore):
    assert collect(step_of(Stage.EVALUATE), store).state == StepId(Stage.GENERATE, 0)
    assert isinstance(collect(step_of(Stage.EVALUATE, maxIterations=1), store).state, Finished)


def log(store: LocalStore, attempt: int, *lines: str, stage: Stage = Stage.TRAIN) -> None:
    store.write(log_key(stage, 0, attempt, "pod"), "\n".join(lines).encode())


def losses(store: LocalStore) -> list[tuple[int, float]]:
    return [*collect(step_of(Stage.EVALUATE), store).iterations[0].losses]


def test_losses_come_from_the_logs_and_a_later_attempt_goes_on_where_the_first_ended(store: LocalStore):
    log(store, 0, '{"step": 1, "loss": 3.0}', '{"step": 2, "loss": 2.0}', "killed")
    log(store, 1, '{"step": 2, "loss": 1.5}', '{"step": 3, "loss": 1.0}')
    log(store, 0, '{"step": 9, "loss": 9.0}', stage=Stage.EVALUATE)
    assert losses(store) == [(1, 3.0), (2, 1.5), (3, 1.0)]


def test_a_log_that_says_nothing_of_use_is_left_out(store: LocalStore):
    log(store, 0, '{"loss":', '{"loss": 1}', '{"step": 1, "loss": null}', '{"step": 1, "loss": NaN}', '["loss"]',
        '{"step": Infinity, "loss": 1}', '{"step": NaN, "loss": 1}', '{"step": 1, "loss": 1e999}', '{"step": "x", "loss": 1}', '"loss"', "[" * 100_000 + '"loss"')  # fmt: skip
    assert losses(store) == []


def test_a_long_training_has_a_curve_of_bounded_size_with_its_last_loss(store: LocalStore):
    log(store, 0, *(json.dumps({"step": n, "loss": float(n)}) for n in range(1, 1002)))
    found = losses(store)
    assert LOSSES / 2 < len(found) <= LOSSES
    assert found[-1] == (1001, 1001.0)


def test_of_very_many_answers_those_of_the_first_the_best_and_the_newest_iteration_are_read(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    for index, score in enumerate((0.7, 0.9, 0.5, 0.6)):
        if index:
            commit_step(store, step_of(Stage.TRAIN, index))
            files = {f"predictions.{name}.jsonl": ANSWERS for name in ("seed", "evaluation")}
            commit_step(store, step_of(Stage.EVALUATE, index), files, metrics=(builders.accuracy(score),))
    step = step_of(Stage.EVALUATE, 3)
    assert [bool(each.answers.get("evaluation")) for each in collect(step, store).iterations] == [True] * 4
    monkeypatch.setattr("llm2llm.report.collect.ANSWERS_LIMIT", 399)  # of 100 rows that Prepare counted
    contents = collect(step, store)
    assert [bool(each.answers.get("evaluation")) for each in contents.iterations] == [True, True, False, True]
    assert all(each.answers["seed"] for each in contents.iterations)
    assert all(each.answers["evaluation"] for each in collect(step, store, everything=True).iterations)

"""What is believed of the report of an attempt, and how its result is told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders
from tests.support.attempts import attempt_in_progress
from tests.support.world import World, document, with_test_set

from llm2llm.records import Report, Stage
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.result import describe_result, ending_of, read_report, success_record
from llm2llm_operator.model.observation import Pod
from llm2llm_operator.model.status import RunStatus

JOB = builders.job("j")


@pytest.mark.parametrize("message", ["", "not JSON", json.dumps({"stage": "Train"}), "x" * 5000])
def test_a_report_that_cannot_be_read_is_collected_from_the_manifest(message: str):
    world = World()
    world.settle()
    world.end(0, message)
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"
    assert document(world).kind == "Collect"
    world.succeed()
    world.settle()
    assert world.status["steps"][0]["outcome"] == "Succeeded"
    assert world.status["currentStep"]["stage"] == "Train"


@pytest.mark.parametrize("change", [{"run_uid": "another"}, {"iteration": 7}, {"stage": Stage.EVALUATE}])
def test_a_report_of_another_step_is_not_believed(change: dict[str, object]):
    world = World()
    world.settle()
    world.end(0, builders.report(Stage.PREPARE).model_copy(update=change).to_termination_message())
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"


def test_an_evaluation_that_tells_no_score_is_no_result():
    world = World()
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    world.succeed(metrics=())
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"


def test_a_test_that_tells_no_test_score_is_no_result():
    world = with_test_set(maxIterations=1)
    for _ in range(3):
        world.settle()
        world.succeed()
    world.settle()
    world.succeed(metrics=(builders.accuracy(0.9),))
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"


@pytest.mark.parametrize(
    "change",
    [{"metrics": ()}, {"exit_code": 75, "metrics": ()}],
    ids=["of a success it needs a score", "of a failure it does not"],
)
def test_a_report_of_an_evaluation_without_a_score(change: dict[str, Any]):
    report = builders.report(Stage.EVALUATE).model_copy(update=change)
    read = read_report(*evaluating(), ended(report))
    assert (read is not None) == bool(report.exit_code)


def test_an_evaluation_needs_a_score_on_the_evaluation_set_or_on_the_seed_set():
    told = builders.report(Stage.EVALUATE, metrics=(builders.accuracy(0.5, "synthetic"),))
    assert read_report(*evaluating(), ended(told)) is None
    told = builders.report(Stage.EVALUATE, metrics=(builders.accuracy(0.5, "seed"),))
    assert read_report(*evaluating(), ended(told)) == told


def test_a_pod_that_is_gone_or_says_nothing_has_no_report():
    assert read_report(*evaluating(), None) is None
    assert read_report(*evaluating(), builders.pod(JOB, exit_code=0)) is None


def evaluating() -> tuple[Inputs, RunStatus]:
    inputs, status = attempt_in_progress([])
    return inputs, status.with_step(stage="Evaluate")


def ended(report: Report) -> Pod:
    return builders.pod(JOB, exit_code=report.exit_code, message=report.to_termination_message())


@pytest.mark.parametrize(
    ("report", "words"),
    [
        pytest.param(builders.report(Stage.PREPARE), "inputs are frozen", id="Prepare"),
        pytest.param(
            builders.report(Stage.PREPARE, message="about 90 steps"),
            "inputs are frozen; about 90 steps",
            id="its estimate",
        ),
        pytest.param(
            builders.report(Stage.TRAIN, train_examples=40, optimizer_steps=9),
            "40 examples, 9 optimizer steps",
            id="Train",
        ),
        pytest.param(
            builders.report(Stage.EVALUATE, metrics=(builders.accuracy(0.75), builders.accuracy(0.5, "seed", 40))),
            "accuracy 0.750 on 100 evaluation rows, accuracy 0.500 on 40 seed rows; 10 mistakes",
            id="Evaluate",
        ),
        pytest.param(builders.report(Stage.GENERATE), "28 of 30 rows kept", id="Generate"),
        pytest.param(builders.report(Stage.TEST), "accuracy 0.690 on 100 test rows", id="Test"),
    ],
)
def test_the_result_of_a_step_in_a_few_words(report: Report, words: str):
    assert describe_result(report) == words


BY_MEMORY = "killed for the memory that it took (exit code 137, SIGKILL, OOMKilled)"


@pytest.mark.parametrize(
    ("pod", "report", "message"),
    [
        pytest.param({"message": "Traceback"}, None, f"{BY_MEMORY}; the end of its log: Traceback", id="no report"),
        pytest.param({"message": "{}"}, builders.report(Stage.TRAIN), "limit", id="a report has its own message"),
        pytest.param({"message": ""}, None, BY_MEMORY, id="a silent pod"),
        pytest.param(None, None, "limit", id="a pod that is gone leaves it to its Job"),
    ],
)
def test_how_an_attempt_without_a_result_ended(pod: dict[str, Any] | None, report: Report | None, message: str):
    failed = builders.job("j", state="failed", failure_message="limit")
    last = builders.pod(failed, exit_code=137, terminated_reason="OOMKilled", **pod) if pod else None
    ending = ending_of(failed, last, report)
    assert (ending.message, ending.report) == (message, report)
    assert (ending.exit_code, ending.pod_reason) == ((137, "OOMKilled") if pod else (None, ""))


@pytest.mark.parametrize(
    ("code", "changes", "words"),
    [
        (
            137,
            {"terminated_reason": "Error"},
            "killed (exit code 137, SIGKILL): perhaps the node ran out of memory, or",
        ),
        (137, {"rejection": "Evicted: low on memory"}, "killed (exit code 137, SIGKILL)"),
        (137, {"terminated_reason": "OOMKilled"}, BY_MEMORY),
        (139, {"terminated_reason": "Error"}, "exit code 139, SIGSEGV"),
        (134, {}, "exit code 134, SIGABRT"),
        (1, {"terminated_reason": "Error"}, "exit code 1"),
        (
            128,
            {"terminated_reason": "StartError", "message": "no such file"},
            "exit code 128, StartError: no such file",
        ),
        (255, {}, "exit code 255"),
    ],
)
def test_what_ended_a_container_comes_before_its_log(code: int, changes: dict[str, Any], words: str):
    failed = builders.job("j", state="failed", failure_message="limit")
    assert ending_of(failed, builders.pod(failed, exit_code=code, **changes), None).message.startswith(words)


def test_of_a_long_log_the_last_whole_lines_are_quoted():
    failed = builders.job("j", state="failed")
    log = "".join(f'{{"rowsTokenized": {number}}}\n' for number in range(300))
    message = ending_of(failed, builders.pod(failed, exit_code=1, message=log[7:]), None).message
    assert message.startswith('exit code 1; the end of its log: {"rowsTokenized": ')
    assert message.endswith('{"rowsTokenized": 299}')
    assert len(message) < 700
    assert ending_of(failed, builders.pod(failed, exit_code=1, message="x" * 4000), None).message.endswith("x" * 600)


def test_the_ledger_has_the_times_of_the_container_and_the_seconds_of_all_attempts():
    _, status = evaluating()
    status = status.with_step(attempt=2, kind="Collect", job_uid="u", active_seconds=95, micro_batch=4)
    record = success_record(status, builders.pod(JOB, exit_code=0, finished=builders.NOW + timedelta(minutes=1)))
    assert record.model_dump(exclude_defaults=True) == {
        "stage": "Evaluate",
        "attempt": 2,
        "kind": "Collect",
        "job_uid": "u",
        "outcome": "Succeeded",
        "start_time": "2026-01-01T12:00:00Z",
        "completion_time": "2026-01-01T12:01:00Z",
        "active_seconds": 95,
        "micro_batch": 4,
    }

"""Budgets, the test set, going on after the end, and the time to live: on the real API server, under the chart's roles.

All runs go side by side under one operator; each test looks at its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.support import builders
from tests.support.install import OperatorProcess, install
from tests.support.podender import Ending, PodEnder, report_of, succeed
from tests.support.runs import Runs, condition

from llm2llm.records import Stage, StepDocument

GPU = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
DATA = builders.spec()["data"] | {"test": {"uri": "s3://b/test.jsonl"}}
SPECS: dict[str, dict[str, Any]] = {
    # Prepare tells 110 tokens, a round 3,300
    "held": {"budget": {"maxTeacherTokens": 100}},
    "completed": {"budget": {"maxTeacherTokens": 100, "onExceeded": "Complete"}, "data": DATA},
    "failed": {"budget": {"maxTeacherTokens": 100, "onExceeded": "Fail"}},
    "gpus": {"maxIterations": 1, "train": GPU, "budget": {"maxGPUHours": "0.001"}},
    "priced": {"budget": {"prices": {"inputPerMillion": "100", "outputPerMillion": "1000"}}},
    "continued": {"maxIterations": 1, "data": DATA},
    "diverged": {"maxIterations": 1},
    "worse": {"maxIterations": 2, "earlyStopping": {"patience": 3}},
    "short-lived": {"maxIterations": 1, "ttlSecondsAfterFinished": 1},
}


def script(step: StepDocument) -> Ending:
    """What the runs are named for; all else ends well. The first training of `gpus` has no end of its own."""
    if step.run == "gpus" and step.stage is Stage.TRAIN and step.attempt == 0:
        return Ending(seconds=float("inf"))
    if step.run == "diverged" and step.stage is Stage.TRAIN:
        report = report_of(step).model_copy(update={"exit_code": 72, "message": "the loss of step 7 is nan"})
        return Ending(exit_code=72, message=report.to_termination_message())
    if step.run == "worse" and step.stage is Stage.EVALUATE and step.iteration == 1:
        report = report_of(step).model_copy(update={"metrics": (builders.accuracy(0.5),)})
        return Ending(message=report.to_termination_message())
    return succeed(step)


@pytest.fixture(scope="module")
def crowd(api: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All runs, under one operator."""
    api.create_namespace("ends")
    runs = Runs(api, "ends")
    with (
        PodEnder(api, script=script),
        OperatorProcess(api, tmp_path_factory.mktemp("ends"), environment={"LLM2LLM_NAMESPACES": "ends"}),
    ):
        for name, spec in SPECS.items():
            runs.create(name, **spec)
        yield runs
    api.request("DELETE", "/api/v1/namespaces/ends")


def test_fault_37_a_run_at_its_budget_is_held_and_goes_on_when_it_is_raised(crowd: Runs):
    status = crowd.wait("held", lambda status: status.get("phase") == "Suspended")
    assert condition(status, "Suspended")["reason"] == "BudgetExceeded"
    assert "110 teacher tokens have been used; spec.budget.maxTeacherTokens is 100" in status["message"]
    assert not [job for job in crowd.jobs("held") if "generate" in job["metadata"]["name"]]
    crowd.patch("held", budget={"maxTeacherTokens": 10_000})
    status = crowd.wait_for_end("held")
    assert status["phase"] == "Succeeded"
    assert status["usage"]["teacherInputTokens"] + status["usage"]["teacherOutputTokens"] == 3410


def test_fault_37_complete_ends_with_the_best_adapter_after_scoring_it(crowd: Runs):
    status = crowd.wait_for_end("completed")
    assert condition(status, "Complete")["reason"] == "BudgetExceeded"
    assert status["best"]["iteration"] == 0
    assert status["test"]["value"] == "0.6900"


def test_fault_37_fail_fails_and_says_what_to_change(crowd: Runs):
    status = crowd.wait_for_end("failed")
    assert condition(status, "Failed")["reason"] == "BudgetExceeded"
    assert "spec.retry" in status["message"]


def test_a_training_at_its_gpu_hours_is_stopped_and_goes_on_as_the_next_attempt(crowd: Runs):
    status = crowd.wait("gpus", lambda status: status.get("phase") == "Suspended")
    assert "maxGPUHours is 0.001" in status["message"]
    assert status["usage"]["gpuSeconds"] >= 4
    assert not [job for job in crowd.jobs("gpus") if "train" in job["metadata"]["name"]]
    crowd.patch("gpus", budget={"maxGPUHours": "1"})
    status = crowd.wait_for_end("gpus")
    trained = next(step for step in status["iterations"][0]["steps"] if step["stage"] == "Train")
    assert (status["phase"], trained["attempt"]) == ("Succeeded", 1)


def test_money_is_told_where_there_are_prices(crowd: Runs):
    status = crowd.wait_for_end("priced")
    # 31 requests of 90 tokens in and 20 out
    assert status["usage"]["cost"] == status["summary"]["cost"] == "0.8990"


def test_fault_38_a_loss_that_is_no_number_fails_the_run_at_once(crowd: Runs):
    status = crowd.wait_for_end("diverged")
    assert condition(status, "Failed")["reason"] == "MetricInvalid"
    assert "the loss of step 7 is nan" in status["message"]
    assert status["currentStep"]["attempt"] == 0


def test_fault_38_a_worse_iteration_leaves_the_best_as_it_was(crowd: Runs):
    status = crowd.wait_for_end("worse")
    assert condition(status, "Complete")["reason"] == "MaxIterationsReached"
    assert (status["best"]["iteration"], status["best"]["value"]) == (0, "0.7000")
    assert status["iterations"][1]["metrics"][0]["value"] == "0.5000"


def test_a_finished_run_goes_on_when_max_iterations_is_raised_and_is_tested_again_if_best_changed(crowd: Runs):
    status = crowd.wait_for_end("continued")
    assert (status["test"]["iteration"], status["test"]["timesScored"]) == (0, 1)
    crowd.patch("continued", maxIterations=2)
    status = crowd.wait("continued", lambda s: s.get("test", {}).get("timesScored") == 2 and s["phase"] == "Succeeded")
    assert status["test"]["iteration"] == status["best"]["iteration"] == 1


def test_a_run_goes_when_its_time_to_live_is_over(crowd: Runs):
    crowd.wait_until_gone("short-lived")


def test_fault_12_without_the_right_to_delete_runs_the_run_stays_and_says_which_switch_is_missing(
    api: Cluster, runs: Runs, tmp_path: Path
):
    install(api, "deployment.enabled=false")
    try:
        with (
            PodEnder(api, node="another"),
            OperatorProcess(api, tmp_path, environment={"LLM2LLM_NAMESPACES": runs.namespace}),
        ):
            runs.create("r", maxIterations=1, ttlSecondsAfterFinished=0)
            status = runs.wait_for_end("r")
            runs.wait("r", lambda _: any("deleteFinishedRuns" in event["message"] for event in runs.events("r")))
            assert runs.status("r") == status
            install(api)
            runs.wait_until_gone(
                "r"
            )  # any look at the run tries again, and soon after its start the operator lists anew
    finally:
        install(api)

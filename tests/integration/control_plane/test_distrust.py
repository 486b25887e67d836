"""Nothing that the operator reads is believed without a look: reports, clocks, Jobs with its labels, its own status.

All runs of a group go side by side; each test looks at its own. An operator that crashed, or that let one run's
nonsense reach another, would show in the bystander of each test.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster, RequestError
from tests.support.install import OperatorProcess
from tests.support.podender import Ending, PodEnder, report_of, succeed
from tests.support.runs import Document, Runs, condition

from llm2llm.loop.outcomes import StepId
from llm2llm.records import Metric, Report, Stage, StepDocument
from llm2llm_operator.build.job import job_name
from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID

FORGED = "sha256:forged"
_trained_enough: set[str] = set()
"""Names of the runs whose first training may end, since what happens meanwhile has happened."""


def text(report: Report, **changes: Any) -> str:
    """A report with fields of its JSON replaced, unchecked."""
    return json.dumps(json.loads(report.to_json()) | changes)


def text_of(metrics: tuple[Metric, ...]) -> list[Document]:
    return [json.loads(metric.to_json()) for metric in metrics]


LIES: dict[str, Callable[[Report], str]] = {
    "not-json": lambda _: "Traceback (most recent call last): ...",
    "empty": lambda _: "",
    "a-list": lambda _: "[]",
    "deep": lambda _: "[" * 2000 + "]" * 2000,
    "too-long": lambda report: text(report, message="x" * 5000),
    "cut": lambda report: report.to_json()[:150],
    "other-run": lambda report: text(report, runUid="00000000-0000-0000-0000-000000000000"),
    "other-stage": lambda report: text(report, stage="Train"),
    "other-iteration": lambda report: text(report, iteration=1),
    "nan": lambda report: text(report, metrics=[json.loads(report.metrics[0].to_json()) | {"value": math.nan}]),
    "above-one": lambda report: text(report, metrics=[json.loads(report.metrics[0].to_json()) | {"value": 1.5}]),
    "negative": lambda report: text(report, mistakes=-3),
    "exit-code": lambda report: text(report, exitCode=72),
    "no-accuracy": lambda report: text(report, metrics=[]),
    "nine-metrics": lambda report: text(report, metrics=[json.loads(report.metrics[0].to_json())] * 9),
    "metric-name": lambda report: text(report, metrics=[*text_of(report.metrics), metric(name="x" * 65)]),
    "dataset-name": lambda report: text(report, metrics=[*text_of(report.metrics), metric(dataset="x" * 33)]),
    "model-uri": lambda report: text(report, modelUri="s3://b/" + "x" * 2042),
    "digest": lambda report: text(report, digest="x" * 129),
    "count": lambda report: text(report, mistakes=10**30),
    "paired": lambda report: text(
        report, paired={"against": 10**30, "dataset": "seed", "examples": 1, "gained": 0, "lost": 0}
    ),
}
"""What the first attempt of an evaluation says, though it exits with 0; the CRD has no room for some of it."""

CLOCKS = {
    "set-back": Ending(lasts=timedelta(hours=-3)),
    "ahead": Ending(clock=timedelta(days=400)),
    "behind": Ending(clock=timedelta(days=-400)),
}


def metric(**changes: Any) -> Document:
    return {
        "name": "accuracy",
        "dataset": "evaluation",
        "value": "0.7",
        "examples": 9,
        "low": "0.6",
        "high": "0.8",
    } | changes


def row(index: int, *stages: str, **changes: Any) -> Document:
    steps = [{"stage": stage, "attempt": 0, "outcome": "Succeeded", "digest": "sha256:x"} for stage in stages]
    return {"index": index, "steps": steps} | changes


EDITS: dict[str, Document] = {
    "unknown-stage": {"currentStep": {"stage": "Foo"}},
    "unknown-kind": {"currentStep": {"kind": "Foo"}},
    "iteration-out-of-range": {"currentStep": {"iteration": 9999}},
    "no-time": {"currentStep": {"since": "yesterday"}},
    "time-without-zone": {"currentStep": {"since": "2026-01-01T00:00:00"}},
    "another-job": {"currentStep": {"jobName": "another", "jobUID": "another"}},
    "no-step": {"currentStep": None},
    "rows-out-of-order": {"iterations": [row(1, "Train"), row(0)]},
    "not-a-number": {"iterations": [row(0, "Train", "Evaluate", metrics=[metric(value="NaN", low="x")])]},
    "no-metric": {"iterations": [row(0, "Train", "Evaluate")], "currentStep": None},
    "row-of-the-future": {"iterations": [row(7, "Train", "Evaluate", metrics=[metric()])]},
    "unknown-record": {"steps": [{"stage": "Foo", "attempt": 0, "outcome": "Succeeded"}]},
    "no-records": {"steps": [], "iterations": []},
    "no-conditions": {"conditions": []},
    "odd-condition": {"conditions": [{"type": "Failed", "status": "Maybe", "reason": "x", "lastTransitionTime": "never"}]},
    "no-start": {"startTime": None, "images": None},
}  # fmt: skip
"""What a person makes of the status while iteration 0 trains; the CRD's schema allows all of it."""

REFUSED: dict[str, Document] = {
    "negative-attempt": {"currentStep": {"attempt": -1}},
    "negative-iteration": {"currentStep": {"iteration": -1}},
    "negative-retries": {"currentStep": {"retries": {"transient": -100}}},
    "rows-twice": {"iterations": [row(0, "Train"), row(0, "Train")]},
    "negative-seconds": {"activeSeconds": -5},
}
"""What the CRD's schema does not allow."""


def play(step: StepDocument) -> Ending:
    """The run's name says what its pods do."""
    group, _, what = step.run.partition("-")
    honest = succeed(step)
    if group == "clock":
        wrong = CLOCKS[what]
        return Ending(message=honest.message, clock=wrong.clock, lasts=wrong.lasts)
    if group == "lie" and step.stage is Stage.EVALUATE and step.attempt == 0:
        return Ending(message=LIES[what](report_of(step)))
    if group == "liar" and step.stage is Stage.EVALUATE:
        return Ending(message="no report at all")
    if group == "edit" and step.stage is Stage.TRAIN and step.iteration == 0:
        return Ending(message=honest.message, until=lambda: step.run in _trained_enough)
    if group == "impostor":
        return Ending(message=text(report_of(step), digest=FORGED), seconds=math.inf if what == "running" else 0)
    if group == "twin" and step.stage is Stage.TRAIN:
        return Ending(message=honest.message, until=lambda: step.run in _trained_enough)
    return honest


@pytest.fixture(scope="module")
def team(api: Cluster) -> Iterator[Runs]:
    api.create_namespace("distrust")
    yield Runs(api, "distrust")
    api.request("DELETE", "/api/v1/namespaces/distrust")


@pytest.fixture(scope="module")
def operator(api: Cluster, team: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder: Path = tmp_path_factory.mktemp("operator")
    environment = {"LLM2LLM_NAMESPACES": team.namespace}
    with (
        PodEnder(api, seconds=0.2, script=play),
        OperatorProcess(api, folder, environment=environment) as process,
    ):
        yield process


@pytest.fixture(autouse=True)
def bystander(operator: OperatorProcess, team: Runs, request: pytest.FixtureRequest) -> Iterator[None]:
    """Beside every test the operator lives on, and another run goes its way."""
    before = operator.child
    yield
    assert operator.child is before
    assert before is not None
    assert before.alive(), operator.log()


@pytest.fixture(scope="module")
def told(operator: OperatorProcess, team: Runs) -> None:
    """All runs whose steps or clocks lie, on their way."""
    for name in [*(f"lie-{lie}" for lie in LIES), *(f"clock-{clock}" for clock in CLOCKS), "liar", "honest"]:
        team.create(name, maxIterations=1, retries={"transient": 1})


@pytest.mark.parametrize("lie", LIES)
def test_a_report_that_cannot_be_true_is_read_again_from_the_manifest(told: None, team: Runs, lie: str) -> None:
    status = team.wait_for_end(f"lie-{lie}")
    honest = team.wait_for_end("honest")
    assert status["phase"] == "Succeeded", status["message"]
    for field in ("best", "summary", "usage"):
        assert status[field] == honest[field]
    evaluated = status["iterations"][0]["steps"][1]
    assert (evaluated["stage"], evaluated["attempt"], evaluated["kind"]) == ("Evaluate", 1, "Collect")


def test_a_step_that_never_tells_a_report_fails_and_is_not_asked_for_ever(told: None, team: Runs) -> None:
    status = team.wait_for_end("liar")
    assert condition(status, "Failed")["reason"] == "ReportMissing"
    assert "spec.retry" in status["message"]


@pytest.mark.parametrize("clock", CLOCKS)
def test_fault_39_a_nodes_clock_decides_nothing_and_gives_no_negative_duration(
    told: None, team: Runs, clock: str
) -> None:
    status = team.wait_for_end(f"clock-{clock}")
    assert status["phase"] == "Succeeded", status["message"]
    assert 0 <= status["activeSeconds"] < 60
    assert all(0 <= step["activeSeconds"] < 60 for step in status["iterations"][0]["steps"])


@pytest.fixture(scope="module")
def edited(operator: OperatorProcess, team: Runs) -> None:
    """All runs whose status a person edits while iteration 0 trains."""
    for edit in EDITS:
        team.create(f"edit-{edit}", maxIterations=2)
    to_edit = dict(EDITS)
    deadline = time.monotonic() + 120
    while to_edit:
        assert time.monotonic() < deadline, f"never seen in training: {', '.join(to_edit)}"
        for run in team.all():  # one list of all: the order in which they begin is the operator's
            edit = run["metadata"]["name"].removeprefix("edit-")
            if edit in to_edit and trains(run.get("status") or {}):
                team.edit_status(f"edit-{edit}", to_edit.pop(edit))
                _trained_enough.add(run["metadata"]["name"])
        time.sleep(0.2)


@pytest.mark.parametrize("edit", EDITS)
def test_a_status_that_was_edited_heals_or_says_what_is_wrong(edited: None, team: Runs, edit: str) -> None:
    def over(status: Document) -> bool:
        return status.get("phase") in ("Succeeded", "Failed") or says_internal_error(status)

    status = team.wait(f"edit-{edit}", over)
    print(edit, status.get("phase"), status.get("message"))
    assert len(team.jobs(f"edit-{edit}")) <= 3  # and it is no storm of Jobs


@pytest.mark.parametrize("edit", REFUSED)
def test_the_api_server_refuses_an_edit_that_cannot_be(edited: None, team: Runs, edit: str) -> None:
    with pytest.raises(RequestError) as refused:
        team.edit_status("edit-no-start", REFUSED[edit])
    assert refused.value.code == 422


def test_fault_45_a_run_that_no_pass_can_decide_says_so_and_goes_on_once_the_edit_is_undone(
    edited: None, team: Runs
) -> None:
    team.wait("edit-unknown-stage", says_internal_error)
    team.edit_status("edit-unknown-stage", {"currentStep": {"stage": "Train"}})
    assert team.wait_for_end("edit-unknown-stage")["phase"] == "Succeeded"


def trains(status: Document) -> bool:
    return {"stage": "Train", "state": "Running"}.items() <= (status.get("currentStep") or {}).items()


def says_internal_error(status: Document) -> bool:
    progressing = condition(status, "Progressing")
    return (progressing.get("status"), progressing.get("reason")) == ("False", "InternalError")


@pytest.mark.parametrize("what", ["ended", "running"])
def test_a_job_with_our_labels_that_is_not_ours_is_neither_believed_nor_deleted(team: Runs, what: str) -> None:
    run = f"twin-{what}"
    uid = team.create(run, maxIterations=1)["metadata"]["uid"]
    team.wait(run, trains)
    [ours] = [job for job in team.jobs(run) if job["metadata"]["name"].endswith("train-a0")]
    labels = {**ours["spec"]["template"]["metadata"]["labels"], LABEL_RUN: run, LABEL_RUN_UID: uid}
    labels = {name: value for name, value in labels.items() if "job-name" not in name and "controller-uid" not in name}
    create_job(team, impostor_of(ours, f"impostor-{what}", labels))
    if what == "ended":
        team.cluster.kubectl(
            "-n", team.namespace, "wait", "--for=condition=Complete", f"job/impostor-{what}", "--timeout=120s"
        )
    _trained_enough.add(run)
    status = team.wait_for_end(run)
    assert status["phase"] == "Succeeded", status["message"]
    assert FORGED not in json.dumps(status)
    [impostor] = [job for job in team.jobs() if job["metadata"]["name"] == f"impostor-{what}"]
    assert "deletionTimestamp" not in impostor["metadata"]


@pytest.mark.parametrize("labeled", [True, False], ids=["with our labels", "without labels"])
def test_a_job_that_has_our_next_name_is_told_and_left_alone(team: Runs, labeled: bool) -> None:
    run = f"name-{'labeled' if labeled else 'bare'}"
    uid = team.create(run, maxIterations=1, suspend=True)["metadata"]["uid"]
    team.wait(run, lambda status: status.get("phase") == "Suspended")
    name = job_name(run, uid, StepId(Stage.PREPARE), 0)
    labels = {LABEL_RUN: run, LABEL_RUN_UID: uid} if labeled else {}
    create_job(team, bare_job(name, labels))
    team.patch(run, suspend=False)
    status = team.wait(run, says_internal_error, timeout=180)
    assert name in status["message"]
    assert "belongs to another owner" in status["message"]
    path = f"/apis/batch/v1/namespaces/{team.namespace}/jobs/{name}"
    team.cluster.request("DELETE", path, {"propagationPolicy": "Background"})
    team.patch(run, maxDisruptions=21)  # any event; without our labels only a slow retry would notice
    assert team.wait_for_end(run)["phase"] == "Succeeded"


def create_job(team: Runs, job: Document) -> None:
    team.cluster.request("POST", f"/apis/batch/v1/namespaces/{team.namespace}/jobs", job)


def bare_job(name: str, labels: dict[str, str]) -> Document:
    """Somebody's Job, without a pod that would need a node."""
    container = {"name": "c", "image": "i"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"suspend": True, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}


def impostor_of(job: Document, name: str, labels: dict[str, str]) -> Document:
    """A Job as somebody copies it: the same template and labels, no owner, and a step whose script is its name."""
    pod = json.loads(json.dumps(job["spec"]["template"]["spec"]))
    for entry in pod["containers"][0]["env"]:
        if entry["name"] == "LLM2LLM_STEP":
            entry["value"] = json.dumps(json.loads(entry["value"]) | {"run": name})
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"backoffLimit": 0, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}

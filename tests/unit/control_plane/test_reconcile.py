"""What a pass writes, in which order, and what it says of a refusal, a conflict or nonsense."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.support import builders
from tests.support.passes import Bench, Document, merged

from llm2llm_operator.kube.errors import ApiUnavailable, Conflict
from llm2llm_operator.reconcile import merge_patch, utc_now

# --- the order of writes


def test_an_attempt_is_in_the_status_before_its_job_exists():
    bench = Bench()
    bench.reconcile()
    assert bench.written() == ["status", "create prepare-a0"]
    body = bench.api.jobs[bench.status["currentStep"]["jobName"]]
    assert body["spec"]["template"]["spec"]["securityContext"]["fsGroup"] == 65532
    bench.reconcile()
    assert bench.written() == []


def test_a_result_is_recorded_before_its_job_is_deleted_and_before_it_is_told():
    bench = Bench()
    bench.reconcile()
    bench.end_job()
    bench.reconcile()
    bench.end_job()
    bench.written()
    bench.reconcile()
    assert bench.written() == [
        "status",
        "create i000-evaluate-a0",
        "delete prepare-a0 Background",
        "event TrainSucceeded",
    ]
    bench.reconcile()
    assert bench.written() == []  # what is being deleted is not deleted again


def test_a_job_that_still_runs_is_deleted_together_with_its_pod():
    bench = Bench()
    bench.reconcile()
    bench.written()
    bench.edit(suspend=True)
    bench.reconcile()
    assert bench.written() == ["status", "delete prepare-a0 Foreground"]


def test_nothing_is_done_for_a_run_that_is_gone_or_that_is_being_deleted():
    bench = Bench()
    bench.cache.drop("runs", builders.UID)
    assert bench.reconcile() is None
    bench = Bench()
    metadata = bench.api.run["metadata"] | {"deletionTimestamp": "2026-01-01T12:00:00Z", "resourceVersion": "2"}
    bench.cache.put("runs", bench.api.run | {"metadata": metadata})
    assert bench.reconcile() is None
    assert bench.written() == []


# --- a spec that an earlier release took and this one cannot read


def test_fault_57_a_run_at_work_with_a_spec_that_cannot_be_read_fails_and_its_job_ends():
    bench = Bench()
    bench.reconcile()
    bench.written()
    bench.edit(maxIterations="many")
    bench.reconcile()
    assert bench.written() == ["status", "delete prepare-a0 Foreground"]
    assert (bench.status["phase"], "spec.maxIterations" in bench.status["message"]) == ("Failed", True)


def test_fault_57_a_finished_run_with_a_spec_that_cannot_be_read_stays_finished():
    bench = Bench(maxIterations=1)
    while bench.status.get("phase") != "Succeeded":
        bench.reconcile()
        if bench.status["phase"] != "Succeeded":
            bench.end_job()
    bench.written()
    seen = bench.status["observedGeneration"]
    bench.edit(maxIterations="many")
    bench.reconcile()
    assert bench.written() == ["status"]  # whoever waits for the edit to be seen does not wait for ever
    assert bench.status["observedGeneration"] == seen + 1
    bench.reconcile()
    assert bench.written() == []
    assert bench.status["phase"] == "Succeeded"
    assert [c["type"] for c in bench.status["conditions"] if c["type"] == "Failed" and c["status"] == "True"] == []


# --- what the cache does not keep


def test_fault_53_a_run_that_is_too_large_for_the_cache_is_read_and_fails_before_its_first_job():
    bench = Bench(task={"promptTemplate": "x", "labels": [random.Random(n).randbytes(100).hex() for n in range(900)]})
    assert bench.cache.must_read(("ns", "r"))
    bench.reconcile()
    assert bench.written() == ["status", "event InvalidSpec"]
    assert "more than the limit of 65536: shorten the spec" in bench.status["message"]


def test_a_run_that_was_deleted_before_it_could_be_read_is_left():
    bench = Bench(
        suspend=True,
        task={
            "promptTemplate": "x" * 8_000,
            "labels": [random.Random(0).randbytes(9_000).hex()[: 253 * n][-253:] for n in range(1, 70)],
        },
    )
    bench.reconcile()
    assert bench.status["phase"] == "Suspended"
    bench.written()
    assert bench.cache.must_read(("ns", "r"))

    async def gone(*_: str) -> None:
        return None

    bench.api.get_run = gone  # type: ignore[method-assign,assignment]
    assert bench.reconcile() is None
    assert bench.written() == []


# --- conflicts


def conflicts() -> float:
    return REGISTRY.get_sample_value("llm2llm_write_conflicts_total") or 0.0


def test_after_a_conflict_nothing_else_is_written_and_the_next_pass_decides_by_what_is_there():
    bench = Bench()
    bench.api.version += 1
    bench.api.run["metadata"]["resourceVersion"] = str(bench.api.version)  # somebody wrote, unwatched
    bench.api.run["spec"] = {**bench.api.run["spec"], "suspend": True}
    before = conflicts()
    with pytest.raises(Conflict):
        bench.reconcile()
    assert bench.written() == []
    assert conflicts() == before + 1
    bench.reconcile()
    assert bench.status["phase"] == "Suspended"


def ended_prepares() -> float:
    labels = {"stage": "Prepare", "outcome": "Succeeded"}
    return REGISTRY.get_sample_value("llm2llm_steps_total", labels) or 0.0


@pytest.mark.parametrize(
    ("ours", "counted"), [(True, 1), (False, 0)], ids=["a write of ours whose answer was lost", "a write of another"]
)
def test_a_conflict_counts_a_step_only_if_it_was_ours(ours: bool, counted: int, monkeypatch: pytest.MonkeyPatch):
    bench = Bench()
    bench.reconcile()
    bench.end_job()
    send = bench.api.patch_status

    async def lose_the_answer(namespace: str, name: str, version: int, patch: Document) -> Document:
        await send(namespace, name, version, patch)
        if not ours:
            bench.api.run["status"] = {**bench.status, "message": "of another replica"}
        raise Conflict(409, "Conflict", "the object has been modified")

    monkeypatch.setattr(bench.api, "patch_status", lose_the_answer)
    before = ended_prepares()
    with pytest.raises(Conflict):
        bench.reconcile()
    assert ended_prepares() == before + counted


# --- what the watches do not tell


def test_an_ended_job_waits_a_second_for_its_pod_which_is_then_read():
    bench = Bench()
    bench.reconcile()
    bench.written()
    bench.end_job(pod=False)
    assert bench.reconcile() == 1.0
    assert bench.written() == []
    bench.reconcile()
    assert bench.status["steps"][0]["outcome"] == "Succeeded"


def watched_pod(bench: Bench, name: str, created: str, **status: Any) -> None:
    """A pod of the newest Job as it is watched."""
    job = list(bench.api.jobs.values())[-1]["metadata"]
    owner = {"uid": job["uid"], "name": job["name"], "controller": True}
    metadata: Document = {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "1"}
    metadata |= {"creationTimestamp": created}
    metadata |= {"labels": job["labels"], "ownerReferences": [owner]}
    bench.cache.put("pods", {"metadata": metadata, "status": status})


def test_a_pod_that_never_ran_is_not_waited_for():
    bench = Bench()
    bench.reconcile()
    bench.end_job(pod=False, exit_code=1)
    watched_pod(bench, "refused", "2026-01-01T12:00:00Z", phase="Failed", reason="OutOfcpu", message="Pod was rejected")
    bench.api.refuse["read"] = ApiUnavailable(503, "Busy", "nobody is to ask")
    assert bench.reconcile() == 60.0
    assert "OutOfcpu: Pod was rejected" in bench.status["message"]


def test_the_end_of_the_newest_pod_is_waited_for_and_not_that_of_one_which_it_replaced():
    bench = Bench()
    bench.reconcile()
    bench.end_job(pod=False)
    ended = {"exitCode": 143, "startedAt": "2026-01-01T12:00:00Z", "finishedAt": "2026-01-01T12:01:00Z"}
    statuses = [{"name": "step", "state": {"terminated": ended}}]
    watched_pod(bench, "evicted", "2026-01-01T12:00:00Z", phase="Failed", containerStatuses=statuses)
    watched_pod(bench, "second", "2026-01-01T12:02:00Z", phase="Running")
    assert bench.reconcile() == 1.0


def bench_that_lost_its_job() -> tuple[Bench, str]:
    """The status has the UID of a Job that the cache does not know, and its name."""
    bench = Bench()
    bench.reconcile()
    [name] = bench.api.jobs
    uid = f"uid-{name}"
    bench.api.run["status"] = {**bench.status, "currentStep": {**bench.status["currentStep"], "jobUID": uid}}
    bench.edit()
    bench.cache.drop("jobs", uid)
    bench.cache._tombstones.clear()
    bench.written()
    return bench, name


def test_a_job_that_the_cache_lost_is_read_before_it_counts_as_deleted():
    bench, name = bench_that_lost_its_job()
    bench.reconcile()
    assert "create prepare-a1" not in bench.written()
    bench.cache.drop("jobs", f"uid-{name}")
    del bench.api.jobs[name]
    bench.reconcile()
    assert "create prepare-a1" in bench.written()
    assert bench.status["currentStep"]["kind"] == "Collect"


def test_a_job_that_has_lost_its_owner_is_told_until_somebody_deletes_it():
    bench, name = bench_that_lost_its_job()
    assert bench.api.jobs[name]["metadata"].pop("ownerReferences")
    assert bench.reconcile() == 60.0
    assert bench.written() == ["status"]
    assert bench.progressing()[1] == "InternalError"
    assert f"Job {name} exists but belongs to another owner, or has lost" in bench.status["message"]
    del bench.api.jobs[name]
    bench.cache.drop("jobs", f"uid-{name}")
    bench.reconcile()
    assert "create prepare-a1" in bench.written()


def test_another_job_of_the_name_of_ours_does_not_stand_for_ours():
    bench, name = bench_that_lost_its_job()
    body = bench.api.jobs[name]
    bench.api.jobs[name] = body | {"metadata": body["metadata"] | {"uid": "of-another"}}
    bench.reconcile()
    assert "create prepare-a1" in bench.written()


@pytest.mark.parametrize(("seconds", "reason"), [(19, "Preparing"), (20, "QuotaExceeded")])
def test_warnings_are_read_once_a_job_has_waited_for_twenty_seconds(seconds: int, reason: str):
    bench = Bench()
    bench.reconcile()
    [name] = bench.api.jobs
    warning = {"metadata": {}, "type": "Warning", "reason": "FailedCreate", "message": "exceeded quota: gpus"}
    bench.api.events_that_warn = [warning | {"involvedObject": {"kind": "Job", "uid": f"uid-{name}"}}]
    bench.now += timedelta(seconds=seconds)
    bench.reconcile()
    assert bench.progressing()[1] == reason


@pytest.mark.parametrize(("pod", "reason"), [("old", "Preparing"), ("new", "FailedMount")])
def test_a_warning_about_a_pod_that_has_ended_says_nothing_of_the_one_that_replaces_it(pod: str, reason: str):
    bench = Bench()
    bench.reconcile()
    watched_pod(bench, "old", "2026-01-01T12:00:00Z", phase="Failed", conditions=[DISRUPTED])
    watched_pod(bench, "new", "2026-01-01T12:00:01Z", phase="Pending")
    bench.now += timedelta(seconds=20)
    warning = {"metadata": {}, "type": "Warning", "reason": "FailedMount", "message": "no such volume"}
    bench.api.events_that_warn = [warning | {"involvedObject": {"kind": "Pod", "uid": pod, "name": pod}}]
    bench.reconcile()
    assert bench.progressing()[1] == reason


DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}

# --- what cannot be decided


def test_a_status_that_was_edited_beyond_sense_is_told_on_the_run_and_raised():
    bench = Bench({"startTime": "2026-01-01T12:00:00Z", "currentStep": {"stage": "Train", "since": "yesterday"}})
    bench.api.run["status"]["currentStep"]["stage"] = "Ponder"
    bench.edit()
    with pytest.raises(ValueError, match="Ponder"):
        bench.reconcile()
    status, reason, message = bench.progressing()
    assert (status, reason) == ("False", "InternalError")
    assert "'Ponder' is not a valid Stage" in message
    assert "undo the edit" in message
    assert bench.written() == ["status"]


def test_an_api_server_that_is_away_is_not_told_on_the_run():
    bench = Bench()
    bench.reconcile()
    bench.end_job(pod=False)
    bench.reconcile()
    bench.written()
    bench.api.refuse["read"] = ApiUnavailable(503, "Busy", "later")
    with pytest.raises(ApiUnavailable):
        bench.reconcile()
    assert bench.written() == []


def test_a_stored_spec_that_cannot_be_read_fails_the_run_and_names_its_fields():
    bench = Bench(maxIterations="many")
    bench.reconcile()
    assert bench.status["phase"] == "Failed"
    assert bench.status["message"].startswith("spec.maxIterations: ")
    assert bench.written() == ["status"]


# --- the patch


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        pytest.param({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}, {}, id="equal: no write"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, id="another value"),
        pytest.param({"a": 1, "b": 2}, {"b": 2}, {"a": None}, id="a field that is no more"),
        pytest.param(
            {"b": {"c": 1, "d": 2}}, {"b": {"c": 1}}, {"b": {"d": None}}, id="a field of a block that is no more"
        ),
        pytest.param({"b": {"c": 1}}, {"b": {"c": 1, "d": {"e": 1}}}, {"b": {"d": {"e": 1}}}, id="a new block"),
        pytest.param({"l": [{"a": 1}, {"b": 2}]}, {"l": [{"a": 1}]}, {"l": [{"a": 1}]}, id="lists are replaced"),
        pytest.param({"b": {"c": 1}}, {"b": 3}, {"b": 3}, id="a block becomes a value"),
        pytest.param({"b": 3}, {"b": {"c": 1}}, {"b": {"c": 1}}, id="a value becomes a block"),
    ],
)
def test_a_patch_holds_what_changed_and_makes_the_old_document_the_new_one(
    old: Document, new: Document, patch: Document
):
    assert merge_patch(old, new) == patch
    assert merged(old, merge_patch(old, new)) == new


def test_the_wall_clock_is_read_in_whole_seconds_of_utc():
    now = utc_now()
    assert (now.microsecond, now.utcoffset()) == (0, timedelta(0))

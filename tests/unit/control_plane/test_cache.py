from __future__ import annotations

from typing import Any

from llm2llm_operator.cache import Cache
from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID

KEY = ("ns", "r")


def run(version: int, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "r", "uid": uid, "resourceVersion": str(version)}, "spec": {}}


def job(version: int, uid: str = "j", complete: bool = False) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": uid, "uid": uid, "resourceVersion": str(version)}
    labels = {"labels": {LABEL_RUN: "r", LABEL_RUN_UID: "u"}}
    conditions = [{"type": "Complete", "status": "True"}] if complete else []
    return {"metadata": metadata | labels, "status": {"conditions": conditions}}


def test_an_older_echo_does_not_replace_a_newer_fact():
    cache = Cache()
    assert cache.put("jobs", job(5, complete=True)) == KEY
    assert cache.put("jobs", job(4)) is None
    assert cache.put("runs", run(1)) == KEY
    seen = cache.observation(cache.run(KEY))  # type: ignore[arg-type]
    assert seen.jobs[0].complete


def test_a_deleted_object_is_not_revived_by_a_late_list():
    cache = Cache()
    cache.put("runs", run(1))
    assert cache.drop("runs", "u") == KEY
    assert cache.replace("runs", [run(9)], 10) == set()
    assert cache.run(KEY) is None


def test_fault_08_a_list_drops_what_vanished_but_not_what_is_newer_than_itself():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(5, "old"))
    cache.put("jobs", job(20, "new"))
    assert cache.replace("jobs", [], 10) == {KEY}
    seen = cache.observation(cache.run(KEY))  # type: ignore[arg-type]
    assert [entry.name for entry in seen.jobs] == ["new"]


def owned(body: dict[str, Any], owner: str) -> dict[str, Any]:
    body["metadata"]["ownerReferences"] = [{"uid": owner, "controller": True}]
    return body


def test_a_pod_counts_unless_its_job_bears_our_labels_and_is_not_ours():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", owned(job(2, "ours"), "u"))
    cache.put("jobs", job(3, "impostor"))
    cache.put("pods", owned(job(4, "pod-of-ours"), "ours"))
    cache.put("pods", owned(job(5, "pod-of-impostor"), "impostor"))
    cache.put("pods", owned(job(6, "pod-of-a-job-that-is-gone"), "gone"))
    cache.put("pods", job(7, "orphan"))
    seen = cache.observation(cache.run(KEY))  # type: ignore[arg-type]
    assert [pod.name for pod in seen.pods] == ["pod-of-ours", "pod-of-a-job-that-is-gone", "orphan"]


def test_fault_15_a_run_that_is_created_again_under_its_name_is_another_run():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(2))
    cache.put("runs", run(7, uid="second"))
    cache.drop("runs", "u")  # the deletion of the first arrives late
    again = cache.run(KEY)
    assert again is not None
    assert again.uid == "second"
    assert cache.observation(again).jobs == ()

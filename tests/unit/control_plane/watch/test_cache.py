from __future__ import annotations

from typing import Any

from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID
from llm2llm_operator.watch.cache import Cache

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


def test_what_no_decision_needs_asks_for_no_pass_but_its_version_counts():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(5))
    assert cache.put("jobs", job(7) | {"status": {"active": 1, "ready": 1}}) is None
    assert cache.retain("jobs", (), 6) == set()
    assert cache.put("jobs", job(8, complete=True)) == KEY


def test_a_run_is_at_rest_once_it_ended():
    cache = Cache()
    for name, kind in (("done", "Complete"), ("new", ""), ("broken", "Failed"), ("busy", "Progressing")):
        body = run(1, name)
        body["metadata"]["name"] = name
        cache.put("runs", body | {"status": {"conditions": [{"type": kind, "status": "True"}] if kind else []}})
    assert {name for _, name in cache.keys() if cache.finished(("ns", name))} == {"done", "broken"}  # noqa: SIM118
    assert cache.finished(("ns", "gone"))


def test_a_version_is_news_once_and_never_after_the_object_was_deleted():
    cache = Cache()
    cache.put("jobs", job(5))
    assert [cache.knows("jobs", "j", version) for version in (4, 5, 6)] == [True, True, False]
    cache.drop("jobs", "j")
    assert cache.knows("jobs", "j", 6)
    assert not cache.knows("jobs", "another", 1)


def test_a_run_is_read_as_it_was_written():
    cache = Cache()
    cache.put("runs", run(3) | {"spec": {"a": ["ä", 1, None]}, "status": {"b": {}}})
    kept = cache.run(KEY)
    assert kept
    assert (kept.version, kept.spec, kept.status) == (3, {"a": ["ä", 1, None]}, {"b": {}})


def test_a_job_that_we_deleted_is_on_its_way_before_the_watch_tells():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(5, complete=True))
    [mine] = cache.observation(cache.run(KEY)).jobs  # type: ignore[arg-type]
    cache.deleting(mine)
    [mine] = cache.observation(cache.run(KEY)).jobs  # type: ignore[arg-type]
    assert mine.deleting
    cache.drop("jobs", "j")
    cache.deleting(mine)
    assert cache.observation(cache.run(KEY)).jobs == ()  # type: ignore[arg-type]


def test_a_deleted_object_is_not_revived_by_a_late_list():
    cache = Cache()
    cache.put("runs", run(1))
    assert cache.drop("runs", "u") == KEY
    assert cache.put("runs", run(9)) is None
    assert cache.retain("runs", {"u"}, 10) == set()
    assert cache.run(KEY) is None


def test_fault_08_a_list_drops_what_vanished_but_not_what_is_newer_than_itself():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(5, "old"))
    cache.put("jobs", job(20, "new"))
    assert cache.retain("jobs", (), 10) == {KEY}
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

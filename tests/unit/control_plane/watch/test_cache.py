from __future__ import annotations

import random
from typing import Any

import pytest

from llm2llm_operator.build.job import job_prefix
from llm2llm_operator.constants import LABEL_JOB_NAME, LABEL_RUN, LABEL_RUN_UID
from llm2llm_operator.watch.cache import Cache

KEY = ("ns", "r")
PREFIX = job_prefix("r", "u")


def run(version: int, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "r", "uid": uid, "resourceVersion": str(version)}, "spec": {}}


def job(
    version: int, uid: str = "j", complete: bool = False, *, owner: str = "u", namespace: str = "ns"
) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": uid, "uid": uid, "resourceVersion": str(version)}
    labels = {"labels": {LABEL_RUN: "r", LABEL_RUN_UID: "u"}}
    owners = {"ownerReferences": [{"uid": owner, "name": "r", "controller": True}] if owner else []}
    conditions = [{"type": "Complete", "status": "True"}] if complete else []
    return {"metadata": metadata | labels | owners, "status": {"conditions": conditions}}


def pod(
    version: int, uid: str, *, of: str, of_name: str = f"{PREFIX}train-a0", namespace: str = "ns"
) -> dict[str, Any]:
    """A pod of a Job with this UID and name; of no Job if the UID is empty, but for the label that names it."""
    body = job(version, uid, owner="", namespace=namespace)
    if of:
        body["metadata"]["ownerReferences"] = [{"uid": of, "name": of_name, "controller": True}]
    body["metadata"]["labels"][LABEL_JOB_NAME] = of_name
    return body


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


def words(size: int) -> str:
    """Text that does not compress to less than half."""
    return random.Random(0).randbytes(size // 2).hex()


@pytest.mark.parametrize(
    ("size", "condition", "kept"),
    [
        pytest.param(2_000, "Suspended", True, id="an ordinary run that is held"),
        pytest.param(40_000, "Suspended", False, id="a large run that is held"),
        pytest.param(40_000, "Complete", False, id="a large run that has ended"),
        pytest.param(40_000, "Reconciling", True, id="a large run at work"),
        pytest.param(400_000, "Reconciling", False, id="a run that no step could be made of"),
    ],
)
def test_fault_53_of_a_large_run_that_rests_only_its_state_is_kept(size: int, condition: str, kept: bool):
    cache = Cache()
    status = {"conditions": [{"type": condition, "status": "True", "reason": "ForAReason"}]}
    cache.put("runs", run(3) | {"spec": {"labels": [words(size)]}, "status": status})
    assert cache.must_read(KEY) != kept
    assert (cache.run(KEY) is not None) == kept
    assert len(cache.summaries()) == 1
    assert cache.finished(KEY) == (condition == "Complete")
    assert not cache.must_read(("ns", "another"))


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


def names(cache: Cache) -> tuple[list[str], list[str]]:
    """The Jobs and pods that count for the run."""
    found = cache.run(KEY)
    assert found
    seen = cache.observation(found)
    return [job.name for job in seen.jobs], [pod.name for pod in seen.pods]


def test_fault_54_only_a_job_that_the_run_controls_counts_and_only_pods_of_such_a_job():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(2, "ours"))
    cache.put("jobs", job(3, "of-another", owner="another"))
    cache.put("jobs", job(4, "of-nobody", owner=""))
    cache.put("pods", pod(5, "of-ours", of="ours"))
    for version, owner in enumerate(("of-another", "of-nobody"), 6):
        cache.put("pods", pod(version, f"pod-{owner}", of=owner))
    cache.put("pods", pod(8, "of-a-job-of-another-name", of="gone", of_name="another-train-a0"))
    cache.put("pods", pod(9, "of-no-job", of="", of_name=""))
    assert names(cache) == (["ours"], ["of-ours"])


def test_fault_54_a_job_with_our_labels_and_owner_in_another_namespace_is_not_ours():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(2, "forged", complete=True, namespace="other"))
    cache.put("pods", pod(3, "pod-of-forged", of="forged", namespace="other"))
    cache.put("pods", pod(4, "pod-of-none", of="", namespace="other"))
    assert names(cache) == ([], [])


def test_a_job_whose_label_is_edited_leaves_the_run():
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(2, "ours"))
    relabeled = job(3, "ours")
    relabeled["metadata"]["labels"][LABEL_RUN_UID] = "another"
    cache.put("jobs", relabeled)
    assert names(cache) == ([], [])


def test_a_pod_counts_until_it_stops_though_its_job_is_gone_or_was_never_seen():
    """Rule C7, also after a restart: nobody remembers the Job, and the status has another attempt."""
    cache = Cache()
    cache.put("runs", run(1))
    cache.put("jobs", job(2, "ours"))
    cache.put("pods", pod(3, "trains", of="ours"))
    cache.drop("jobs", "ours")
    assert names(cache) == ([], ["trains"])
    cache.put("pods", pod(4, "trains", of=""))  # --cascade=orphan
    assert names(cache) == ([], ["trains"])
    cache.put("pods", pod(5, "late", of="gone-before-our-start"))
    assert names(cache) == ([], ["trains", "late"])
    for uid in ("trains", "late"):
        cache.drop("pods", uid)
    assert names(cache) == ([], [])


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

"""What a pass says and does where the API server refuses what it writes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support.log import Log
from tests.support.passes import Bench, Document

from llm2llm_operator.kube.errors import ApiError, ApiUnavailable, Forbidden, NotFound, Rejected


def test_fault_53_a_result_that_the_status_cannot_hold_fails_the_run_until_a_person_raises_retry(
    monkeypatch: pytest.MonkeyPatch,
):
    bench = Bench()
    bench.reconcile()
    bench.end_job()
    send = bench.api.patch_status

    async def refuse_the_result(namespace: str, name: str, version: int, patch: Document) -> Document:
        if "steps" in patch:
            raise Rejected(422, "Invalid", "status.steps[0].digest: Too long: may not be more than 128 bytes")
        return await send(namespace, name, version, patch)

    monkeypatch.setattr(bench.api, "patch_status", refuse_the_result)
    bench.written()
    assert bench.reconcile() is None
    assert bench.written() == ["status", "event StatusRejected"]
    failed = next(each for each in bench.status["conditions"] if each["type"] == "Failed")
    assert (failed["status"], failed["reason"], bench.status["phase"]) == ("True", "StatusRejected", "Failed")
    assert "status.steps[0].digest: Too long" in bench.status["message"]
    bench.reconcile()
    assert bench.written() == []
    monkeypatch.setattr(bench.api, "patch_status", send)
    bench.edit(retry=1)
    bench.reconcile()
    assert bench.status["currentStep"]["attempt"] == 1


@pytest.mark.parametrize("status", [400, 413])
def test_a_status_that_is_refused_for_another_reason_is_written_again(status: int):
    bench = Bench()
    bench.api.refuse["status"] = Rejected(status, "BadRequest", "a webhook says no")
    with pytest.raises(Rejected):
        bench.reconcile()
    bench.api.refuse.clear()
    bench.reconcile()
    assert bench.written() == ["status", "create prepare-a0"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(
            Forbidden(403, "Forbidden", 'cannot create resource "jobs"'), "Forbidden", id="a right is missing"
        ),
        pytest.param(Rejected(422, "Invalid", "spec.template: invalid"), "JobRejected", id="a Job that is not taken"),
        pytest.param(
            Rejected(400, "", 'admission webhook "policy" denied the request'), "WebhookDenied", id="a webhook says no"
        ),
        pytest.param(
            Forbidden(403, "", 'admission webhook "policy" denied the request'), "WebhookDenied", id="in other words"
        ),
    ],
)
def test_a_refused_job_is_told_in_the_servers_words_once_and_tried_again_every_minute(error: ApiError, reason: str):
    bench = Bench()
    bench.api.refuse["create"] = error
    assert bench.reconcile() == 60.0
    assert bench.progressing() == ("False", reason, error.message)
    assert bench.status["message"] == error.message
    assert bench.written() == ["status", "status", f"event {reason}"]
    since = bench.status["conditions"]
    bench.now += timedelta(minutes=1)
    assert bench.reconcile() == 60.0
    assert bench.written() == []
    assert bench.status["conditions"] == since
    del bench.api.refuse["create"]
    bench.reconcile()
    assert bench.written() == ["create prepare-a0", "status"]
    assert bench.progressing()[:2] == ("True", "Preparing")


CALL = 'failed calling webhook "mjob.kb.io": Post "https://kueue.svc:443/mutate": connect: connection refused'


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(ApiUnavailable(500, "InternalError", CALL), "WebhookUnavailable", id="a webhook is away"),
        pytest.param(
            ApiUnavailable(504, "Timeout", f"{CALL}: deadline"), "WebhookUnavailable", id="it does not answer"
        ),
        pytest.param(ApiUnavailable(500, "InternalError", "etcdserver: no space"), "ServerError", id="something else"),
    ],
)
def test_a_job_that_the_api_server_fails_to_create_is_told_in_its_words_and_tried_again_soon(
    error: ApiUnavailable, reason: str
):
    bench = Bench()
    bench.api.refuse["create"] = error
    with pytest.raises(ApiUnavailable):
        bench.reconcile()
    assert bench.progressing() == ("False", reason, error.message)
    assert bench.written() == ["status", "status", f"event {reason}"]
    assert bench.status["phase"] == "Pending"
    bench.api.refuse["create"] = ApiUnavailable(error.status, error.reason, f"{error.message}, by another port")
    with pytest.raises(ApiUnavailable):
        bench.reconcile()
    assert bench.written() == []  # only another reason is news
    del bench.api.refuse["create"]
    bench.reconcile()
    assert bench.written() == ["create prepare-a0", "status"]
    assert bench.progressing()[:2] == ("True", "Preparing")


def test_a_job_that_was_created_although_the_api_server_said_otherwise_makes_progress():
    bench = Bench()
    bench.reconcile()
    [(name, body)] = bench.api.jobs.items()
    bench = Bench()
    bench.api.refuse["create"] = ApiUnavailable(504, "Timeout", "context deadline exceeded")
    with pytest.raises(ApiUnavailable):
        bench.reconcile()
    assert bench.progressing()[1] == "ServerError"
    bench.api.jobs[name] = body
    bench.cache.put("jobs", body)
    bench.reconcile()
    assert bench.progressing()[:2] == ("True", "Preparing")


@pytest.mark.parametrize("status", [0, 401, 408, 429])
def test_an_api_server_that_is_away_or_busy_is_not_told_as_if_it_were_about_the_job(status: int):
    bench = Bench()
    bench.api.refuse["create"] = ApiUnavailable(status, "Busy", "later")
    with pytest.raises(ApiUnavailable):
        bench.reconcile()
    assert bench.progressing()[:2] == ("True", "Preparing")
    assert bench.written() == ["status"]


def test_a_job_that_a_queue_suspends_as_it_is_created_is_looked_at_at_once(monkeypatch: pytest.MonkeyPatch):
    bench = Bench()
    create = bench.api.create_job

    async def create_suspended(namespace: str, body: Document) -> Document:
        return await create(namespace, body | {"spec": body["spec"] | {"suspend": True}})

    monkeypatch.setattr(bench.api, "create_job", create_suspended)
    assert bench.reconcile() == 0.0
    bench.reconcile()
    assert (bench.status["phase"], bench.progressing()[:2]) == ("Queued", ("False", "Queued"))


def test_a_job_of_another_owner_under_our_name_is_told_and_left_alone():
    bench = Bench()
    twin = Bench()
    twin.reconcile()
    [(name, body)] = twin.api.jobs.items()
    bench.api.jobs[name] = body | {"metadata": body["metadata"] | {"ownerReferences": []}}
    assert bench.reconcile() == 60.0
    assert bench.progressing() == (
        "False",
        "InternalError",
        f"Job {name} exists but belongs to another owner, or has lost its owner or its labels: delete it",
    )
    assert not [write for write in bench.written() if "delete" in write]


def test_in_a_namespace_that_is_gone_nothing_is_told():
    bench = Bench()
    bench.api.refuse["create"] = NotFound(404, "NotFound", "namespaces not found")
    bench.reconcile()
    assert bench.written() == ["status"]


def test_an_event_that_cannot_be_written_costs_nothing_else(log: Log):
    bench = Bench()
    bench.reconcile()
    bench.end_job()
    bench.api.refuse["event"] = ApiUnavailable(503, "Busy", "later")
    bench.written()
    bench.reconcile()
    assert bench.written() == ["status", "create i000-train-a0"]
    assert "cannot write an event: 503 Busy: later" in log.text


def test_a_run_whose_time_is_over_is_deleted_or_says_which_switch_of_the_chart_is_missing():
    bench = Bench(ttlSecondsAfterFinished=60)
    bench.reconcile()
    bench.end_job(exit_code=65)
    bench.reconcile()
    assert bench.status["phase"] == "Failed"
    bench.now += timedelta(seconds=61)
    bench.api.refuse["delete"] = Forbidden(403, "Forbidden", "cannot delete")
    assert bench.reconcile() == 3600.0
    assert "deleteFinishedRuns=true" in bench.api.events[-1]["message"]
    del bench.api.refuse["delete"]
    assert bench.reconcile() is None
    assert bench.written()[-1] == "delete run"

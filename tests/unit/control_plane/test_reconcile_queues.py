"""What a pass reads of Kueue about a Job that it has suspended."""

from __future__ import annotations

from datetime import timedelta

from tests.support.log import Log
from tests.support.passes import Bench

from llm2llm_operator.kube.errors import ApiUnavailable, Forbidden

PENDING = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "1 more cpu needed"}
WORKLOAD = {"metadata": {"name": "w"}, "spec": {"queueName": "gpus"}, "status": {"conditions": [PENDING]}}


def test_kueue_is_asked_only_about_a_job_that_has_been_suspended_for_a_while():
    bench = Bench(kueue=True)
    bench.reconcile()
    bench.now += timedelta(minutes=10)
    bench.reconcile()
    bench.suspend_job()
    bench.reconcile()
    assert bench.api.reads == [f"workloads of uid-{bench.status['currentStep']['jobName']}"]
    assert bench.progressing()[:2] == ("False", "NoWorkload")
    bench.api.workloads = [WORKLOAD]
    bench.now += timedelta(seconds=19)
    bench.reconcile()
    assert len(bench.api.reads) == 1
    bench.now += timedelta(seconds=1)
    bench.reconcile()
    assert bench.progressing()[1] == "Queued"
    assert "1 more cpu needed" in bench.status["message"]
    bench.written()
    bench.now += timedelta(minutes=1)
    bench.reconcile()
    assert (len(bench.api.reads), bench.written()) == (3, [])


def test_an_operator_that_may_not_read_workloads_says_so_in_its_log_and_the_run_waits(
    log: Log,
):
    bench = Bench(kueue=True)
    bench.api.refuse["read"] = Forbidden(403, "Forbidden", "cannot list workloads")
    bench.reconcile()
    bench.suspend_job()
    bench.now += timedelta(minutes=1)
    bench.reconcile()
    assert bench.progressing()[:2] == ("False", "Queued")
    assert "set kueue.readWorkloads of the chart: 403 Forbidden: cannot list workloads" in log.text


def test_while_kueue_cannot_be_asked_the_run_goes_on():
    bench = Bench(kueue=True)
    bench.api.refuse["read"] = ApiUnavailable(500, "InternalError", "conversion webhook failed")
    bench.reconcile()
    bench.suspend_job()
    bench.now += timedelta(minutes=1)
    bench.reconcile()
    assert bench.progressing()[:2] == ("False", "Queued")
    bench.edit(suspend=True)
    bench.written()
    bench.reconcile()
    assert bench.written()[-1] == "delete prepare-a0 Foreground"


def test_an_operator_without_that_switch_asks_nobody():
    bench = Bench()
    bench.reconcile()
    bench.suspend_job()
    bench.now += timedelta(minutes=1)
    bench.reconcile()
    assert (bench.api.reads, bench.progressing()[1]) == ([], "Queued")

"""The CRD changes while the operator runs: it is deleted and created again, or it is that of another release."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.controlplane import Cluster, RequestError
from tests.cluster.processes import wait_until
from tests.support.install import OperatorProcess, install
from tests.support.podender import PodEnder
from tests.support.runs import MERGE_PATCH, Runs

ABSENCE_SECONDS = 15.0
"""Long enough for kopf to ask for what is not there, and to go on without it."""
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/augmentationruns.llm2llm.dev"


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A control plane whose CRD no other test needs."""
    with Cluster() as cluster:
        install(cluster)
        cluster.create_namespace("team")
        yield cluster


def is_gone(cluster: Cluster) -> bool:
    try:
        cluster.request("GET", CRD)
    except RequestError as error:
        return error.code == 404
    return False


def is_created(runs: Runs, name: str) -> bool:
    """Whether a run could be created; the API server serves a new CRD a moment after it is established."""
    try:
        runs.create(name, maxIterations=1)
    except RequestError as error:
        if error.code != 404:
            raise
        return False
    return True


def events_of_runs(operator: OperatorProcess) -> float:
    return operator.metrics().get(("llm2llm_watch_events_total", "runs"), 0.0)


def test_fault_64_a_crd_that_is_deleted_and_created_again_is_watched_again_without_a_restart(
    own: Cluster, tmp_path: Path
):
    runs = Runs(own, "team")
    with PodEnder(own, seconds=0.2), OperatorProcess(own, tmp_path) as operator:
        runs.create("before", maxIterations=1)
        runs.wait_for_end("before")
        own.request("DELETE", CRD)
        wait_until("the end of the CRD", lambda: is_gone(own), [])
        time.sleep(ABSENCE_SECONDS)
        install(own)
        wait_until("a run of the new CRD", lambda: is_created(runs, "after"), [])
        assert runs.wait_for_end("after")["phase"] == "Succeeded"
        before = events_of_runs(operator)
        runs.patch("after", suspend=True)  # only a watch tells of it before the next list, five minutes later
        wait_until("an event of the watch", lambda: events_of_runs(operator) > before, [], timeout=60)
        assert operator.child is not None
        assert operator.child.alive()


def replace_field(cluster: Cluster, former: str, novel: str) -> None:
    """Makes the CRD that of a release that does not have a field yet, and has one that this one does not have."""
    definition = cluster.request("GET", CRD)["spec"]
    fields = definition["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields[novel] = fields.pop(former)
    cluster.request("PATCH", CRD, {"spec": definition}, content_type=MERGE_PATCH)


def differs(operator: OperatorProcess) -> float:
    return operator.metrics()["llm2llm_crd_differs",]


def test_fault_57_the_operator_tells_a_crd_of_another_release_and_works_on(own: Cluster, tmp_path: Path):
    with OperatorProcess(own, tmp_path, environment={"LLM2LLM_RESYNC_SECONDS": "1"}) as operator:
        assert differs(operator) == 0
        replace_field(own, "retry", "novel")
        wait_until("the metric", lambda: differs(operator) == 1, [], timeout=60)
        [told] = [line for line in operator.log().splitlines() if "the CRD" in line]
        assert "lacks spec.retry, which the API server drops from every run" in told
        assert "has spec.novel, which this operator" in told
        assert operator.ready()
        install(own)
        wait_until("the end of the difference", lambda: differs(operator) == 0, [], timeout=60)

"""Statuses as the real API server stores them: the longest that there is, and one of a newer version."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.controlplane import Cluster
from tests.support.install import OperatorProcess
from tests.support.podender import PodEnder
from tests.support.runs import Document, Runs
from tests.support.world import longest_status

from llm2llm.api.run import GROUP, PLURAL

CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.{GROUP}"
NEW = {"fromTheFuture": {"type": "object", "additionalProperties": {"type": "string"}}}
NEW_OF_A_ROW = {"energy": {"type": "string"}}


def test_fault_40_the_api_server_takes_a_status_of_64_iterations_whole(runs: Runs):
    runs.create("longest", maxIterations=64)
    status = longest_status()
    runs.edit_status("longest", status)
    assert runs.status("longest") == status


@pytest.fixture
def newer(api: Cluster) -> Iterator[None]:
    """The CRD of a version that tells more in its status."""
    stored = api.request("GET", CRD)
    changed = copy.deepcopy(stored)
    status = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    status |= NEW
    status["iterations"]["items"]["properties"] |= NEW_OF_A_ROW
    api.request("PUT", CRD, changed)
    yield
    current = api.request("GET", CRD)
    api.request("PUT", CRD, current | {"spec": stored["spec"]})


def test_fault_41_what_a_newer_operator_wrote_is_still_there_when_an_older_one_goes_on(
    newer: None, runs: Runs, tmp_path: Path
):
    with (
        PodEnder(runs.cluster, node="of-two-versions"),
        OperatorProcess(runs.cluster, tmp_path, environment={"LLM2LLM_NAMESPACES": runs.namespace}),
    ):
        runs.create("r", maxIterations=2, approval={"mode": "BeforeTraining"})
        held = runs.wait("r", lambda status: status.get("phase") == "Suspended")
        told = {"fromTheFuture": {"a": "b"}, "iterations": [row | {"energy": "3.2"} for row in held["iterations"]]}

        def kept(_: Document) -> bool:  # the API server takes a moment to know the new fields
            runs.edit_status("r", told)
            return told.items() <= runs.status("r").items()

        runs.wait("r", kept)
        runs.patch("r", approval={"approvedRounds": 1})
        status = runs.wait_for_end("r")
    assert status["phase"] == "Succeeded"
    assert status["fromTheFuture"] == {"a": "b"}
    assert [row.get("energy") for row in status["iterations"]] == ["3.2", None]

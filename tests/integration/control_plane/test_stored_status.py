"""Statuses as the real API server stores them: the longest that there is, and one of a newer version."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import wait_until
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


def schema_of(crd: Document, part: str) -> Document:
    schema: Document = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]["properties"]
    return schema


@pytest.fixture
def change_crd(api: Cluster) -> Iterator[Callable[[Callable[[Document], object]], None]]:
    """Replaces the CRD by that of another release."""
    stored = api.request("GET", CRD)

    def change(edit: Callable[[Document], object]) -> None:
        crd = copy.deepcopy(api.request("GET", CRD))
        edit(crd)
        api.request("PUT", CRD, crd)

    yield change
    change(lambda crd: crd.update(spec=stored["spec"]))


def test_fault_57_a_run_goes_on_when_the_crd_and_the_chart_are_newer_than_operator_and_images(
    change_crd: Callable[[Callable[[Document], object]], None], runs: Runs, tmp_path: Path
):
    """New fields of a spec, of an item of a list in it, and of a status; the new fields of the spec have defaults."""

    def newer_spec(crd: Document) -> None:
        spec = schema_of(crd, "spec")
        spec["train"]["properties"]["hyperparameters"]["properties"]["beta"] = {"type": "string", "default": "0.9"}
        spec["energy"] = {"type": "object", "default": {}, "properties": {"limit": {"type": "integer", "default": 7}}}
        schema_of(crd, "status").update(NEW)

    with (
        PodEnder(runs.cluster, node="of-a-newer-crd"),
        OperatorProcess(runs.cluster, tmp_path, environment={"LLM2LLM_NAMESPACES": runs.namespace}) as operator,
    ):
        runs.create("done", maxIterations=1)
        before = runs.wait_for_end("done")
        runs.create("held", maxIterations=2, approval={"mode": "BeforeTraining"})
        runs.wait("held", lambda status: status.get("phase") == "Suspended")
        change_crd(newer_spec)
        wait_until("the new default", lambda: runs.get("held")["spec"].get("energy") == {"limit": 7}, [], timeout=180)
        operator.stop()
        operator.start()
        runs.patch("held", approval={"approvedRounds": 1})
        assert runs.wait_for_end("held")["phase"] == "Succeeded"
        runs.create("fresh", maxIterations=1)
        assert runs.wait_for_end("fresh")["phase"] == "Succeeded"
        assert runs.status("done") == before


def test_fault_57_an_operator_that_is_newer_than_its_crd_ends_runs_and_does_not_write_without_end(
    change_crd: Callable[[Callable[[Document], object]], None], runs: Runs, tmp_path: Path
):
    """As after `helm upgrade`, which leaves CRDs alone: the API server drops what its older schema does not know."""

    def older(crd: Document) -> None:
        status = schema_of(crd, "status")
        for name in ("summary", "activeSince", "resolved"):
            del status[name]
        del status["usage"]["properties"]["gpuSeconds"]
        del status["currentStep"]["properties"]["since"]
        for name in ("learned", "optimizerSteps", "trainExamples"):
            del status["iterations"]["items"]["properties"][name]
        del schema_of(crd, "spec")["train"]["properties"]["hyperparameters"]["properties"]["weightDecay"]

    change_crd(older)
    with (
        PodEnder(runs.cluster, node="of-an-older-crd"),
        OperatorProcess(runs.cluster, tmp_path, environment={"LLM2LLM_NAMESPACES": runs.namespace}) as operator,
    ):
        runs.create("r", maxIterations=2)
        assert runs.wait_for_end("r")["phase"] == "Succeeded"
        time.sleep(2)  # what follows the end: an Event, the last reading
        ended = runs.get("r")["metadata"]["resourceVersion"]
        operator.stop()
        operator.start()
        time.sleep(5)
        assert runs.get("r")["metadata"]["resourceVersion"] == ended

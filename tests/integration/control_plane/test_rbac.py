"""The chart's rights are what the operator uses: nothing is refused, and nothing is allowed that it never does.

One run goes down every path of the operator under the chart's ServiceAccount, and the API server's audit log tells
which verbs that took.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster, RequestError
from tests.support.apiproxy import ApiProxy, Fault
from tests.support.install import RELEASE, SETTINGS, SYSTEM, OperatorProcess, parse_manifests, render
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.rights import asked, granted, refused, right_of
from tests.support.runs import Runs

from llm2llm.records import Kind, Stage, StepDocument

SLOW_START = 22.0
"""Seconds: the operator lists events about a pod that has not started for 20 s."""
ASKED_BY_ADMISSION = ("llm2llm.dev", "augmentationruns/finalizers", "update")
"""Without it no Job is created here: the API server asks whether we could block the deletion of a run, as OpenShift's
does. It is no request of ours, so it is not in the audit log."""


def test_every_right_of_the_chart_is_used_and_none_is_missing(api: Cluster, runs: Runs, tmp_path: Path) -> None:
    with contextlib.suppress(RequestError):  # what another test's operator left
        api.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}")
    before = api.audit_log.stat().st_size
    proxy = ApiProxy(api, tmp_path, namespace=SYSTEM, service_account=RELEASE)
    environment = {"KUBECONFIG": str(proxy.kubeconfig), "LLM2LLM_NAMESPACES": runs.namespace, "LLM2LLM_NAMESPACE": SYSTEM, "LLM2LLM_LEASE": RELEASE,
                   "LLM2LLM_LEADER_ELECTION": "true"}  # fmt: skip
    operator = OperatorProcess(api, tmp_path, environment=environment)
    with PodEnder(api, seconds=0.3, script=wayward) as ender, proxy, operator:
        go_down_every_path(runs, proxy)
        assert ender.ended
    entries = asked(api, before)
    allowed, used = granted(render(*SETTINGS)), {right_of(entry) for entry in entries}
    assert refused(entries) == set()
    assert sorted(used - allowed) == []
    assert sorted(allowed - used) == [ASKED_BY_ADMISSION]


def test_an_operator_of_some_namespaces_has_the_same_rights_there_and_none_elsewhere() -> None:
    everywhere = granted(render("deployment.enabled=false"))
    here = render("deployment.enabled=false", "watchNamespaces={team-a,team-b}")
    assert granted(here) == everywhere
    assert cluster_wide(here) == []


def test_the_operator_may_not_delete_runs_unless_the_chart_is_told_so() -> None:
    right = ("llm2llm.dev", "augmentationruns", "delete")
    assert right in granted(render(*SETTINGS))
    assert right not in granted(render("deployment.enabled=false"))


def test_the_operator_may_read_kueues_workloads_only_if_the_chart_is_told_so() -> None:
    right = ("kueue.x-k8s.io", "workloads", "list")
    assert right in granted(render(*SETTINGS))
    assert right not in granted(render("deployment.enabled=false"))


def wayward(step: StepDocument) -> Ending:
    """Prepare is slow to start, the first training hangs until its Job is deleted, the rest ends well."""
    if step.stage is Stage.PREPARE:
        return Ending(message=succeed(step).message, waits=SLOW_START)
    if step.stage is Stage.TRAIN and step.attempt < 2:
        if step.kind is Kind.COLLECT:
            return Ending(exit_code=1)  # nothing was committed
        return Ending(seconds=float("inf"))
    return succeed(step)


def go_down_every_path(runs: Runs, proxy: ApiProxy) -> None:
    """Create, conflict, events, a Job deleted by a person, suspend, resume, complete, clean up, time to live."""
    proxy.arm(1, Fault.ANSWER_LOST)  # the status write is repeated and meets its own first try: 409, read again
    runs.create("r", maxIterations=1)
    status = runs.wait("r", running(Stage.TRAIN, attempt=0), timeout=180)
    path = f"/apis/batch/v1/namespaces/{runs.namespace}/jobs/{status['currentStep']['jobName']}"
    merge = "application/merge-patch+json"
    runs.cluster.request("PATCH", path, {"spec": {"suspend": True}}, content_type=merge)  # as a queue does
    runs.wait("r", lambda status: status["currentStep"]["state"] == "Queued", timeout=60)
    runs.cluster.request("DELETE", path, {"propagationPolicy": "Foreground"})  # read by GET, then collected
    runs.wait("r", lambda status: status["currentStep"]["attempt"] >= 1)
    runs.patch("r", suspend=True)
    runs.wait("r", lambda status: status["phase"] == "Suspended")
    runs.patch("r", suspend=False)
    runs.wait_for_end("r")
    runs.patch("r", ttlSecondsAfterFinished=0)
    runs.wait_until_gone("r")


def running(stage: Stage, attempt: int) -> Any:
    wanted = {"stage": stage, "attempt": attempt, "state": "Running"}
    return lambda status: wanted.items() <= (status.get("currentStep") or {}).items()


def cluster_wide(manifests: str) -> list[str]:
    """Names of the ClusterRoleBindings."""
    documents = parse_manifests(manifests)
    return [document["metadata"]["name"] for document in documents if document["kind"] == "ClusterRoleBinding"]

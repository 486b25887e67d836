"""A real Prometheus scrapes an operator at work, over TLS: what dashboard, alerts, and runbooks ask for is there."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import free_port, wait_until
from tests.support.install import SYSTEM, OperatorProcess
from tests.support.podender import Ending, PodEnder, container_status, succeed
from tests.support.prometheus import SERVER_NAME, Prometheus
from tests.support.promql import ALERTS, RUNBOOKS, alerts, fenced, panels, selectors
from tests.support.runs import Document, Runs
from tests.support.tls import issue

from llm2llm.records import StepDocument

TEAM = "watched"
PULLING = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
PRICES = {"inputPerMillion": "1000", "outputPerMillion": "1000", "gpuHour": "3600"}
RUNS: dict[str, Document] = {
    "good": {
        "budget": {"prices": PRICES},
        "train": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    },
    "retried": {"maxIterations": 1},
    "broken": {},
    "held": {"approval": {"mode": "BeforeTraining"}},
    "stuck": {},
}
SEEN = (
    'llm2llm_runs{phase="Succeeded"} == 2',
    'llm2llm_runs{phase="Failed"} == 1',
    'llm2llm_runs_held{reason="AwaitingApproval"}',
    'llm2llm_runs_waiting{reason="ImagePullBackOff"}',
)
VARIABLES = {"$job": ".*", "$namespace": ".*", "$__rate_interval": "1m", "$__range": "1h"}
NOTHING_YET = {
    "{{stage}} disrupted": "no pod was evicted",
    "{{stage}} requeued": "there is no queue",
    "{{code}}": "no request need have failed",
}
"""Legends of queries that need not have an answer after these runs, and why."""
MAY_BE_EMPTY = {"llm2llm_api_errors_total": "no request need have failed"}
"""The same for what alerts select."""


def play(step: StepDocument) -> Ending:
    """The run's name says what its pods do."""
    if step.run == "broken":
        return Ending(exit_code=65, message="seed.jsonl, line 3: no JSON")
    if step.run == "stuck":
        waits = {"phase": "Pending", "containerStatuses": [container_status("step", PULLING)]}
        return Ending(before=waits, waits=math.inf)
    if step.run == "retried" and step.attempt == 0:
        return Ending(exit_code=75, message="the store is away")
    return succeed(step)


@pytest.fixture(scope="module")
def prometheus(api: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, which has seen a few runs go where they go."""
    folder = tmp_path_factory.mktemp("prometheus")
    authority, _ = issue(folder / "tls", SERVER_NAME)
    port = free_port()
    environment = {
        "LLM2LLM_NAMESPACES": TEAM,
        "LLM2LLM_METRICS_TLS_FOLDER": str(authority.parent),
        "LLM2LLM_METRICS_PORT": str(port),
    }
    api.create_namespace(TEAM)
    runs = Runs(api, TEAM)
    operator = OperatorProcess(api, folder / "operator", elected=True, environment=environment)
    with (
        PodEnder(api, seconds=1, script=play),
        operator,
        Prometheus(folder / "prometheus", port, authority, ALERTS) as prometheus,
    ):
        assert operator._get("metrics") is None, "the plain port has no /metrics"
        wait_until("a leader", lambda: bool(prometheus.query("llm2llm_leader == 1")), [])
        for name, spec in RUNS.items():
            runs.create(name, **spec)
        assert [runs.wait_for_end(name)["phase"] for name in ("good", "retried", "broken")] == [
            "Succeeded", "Succeeded", "Failed",
        ]  # fmt: skip
        runs.wait("held", lambda status: status.get("phase") == "Suspended")
        wait_until("a scrape of all that", lambda: all(prometheus.query(query) for query in SEEN), [])
        yield prometheus
    api.request("DELETE", f"/api/v1/namespaces/{TEAM}")


@pytest.mark.parametrize("title", panels())
def test_every_query_of_the_dashboard_has_an_answer(prometheus: Prometheus, title: str):
    for legend, query in panels()[title].items():
        found = prometheus.numbers(chosen(query))
        assert found or legend in NOTHING_YET, query


def chosen(query: str) -> str:
    """The query with what Grafana puts in for its variables."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def test_what_runs_spend_is_told_by_their_own_namespace(prometheus: Prometheus):
    for metric in ("teacher_tokens", "gpu_seconds", "cost"):
        spent = prometheus.query(f"llm2llm_{metric}_total > 0")
        assert {sample.labels["namespace"] for sample in spent} == {TEAM}, metric
    [leader] = prometheus.query("llm2llm_leader")
    assert leader.labels["namespace"] == SYSTEM


def test_prometheus_evaluates_every_alert_and_none_fires_for_one_failed_run(prometheus: Prometheus):
    def pending() -> set[str]:
        return {rule["name"] for rule in prometheus.rules() if rule["state"] == "pending"}

    wait_until("the two that have to wait", lambda: pending() >= {"LLM2LLMRunsStuck", "LLM2LLMRunsHeld"}, [])
    rules = {rule["name"]: rule for rule in prometheus.rules()}
    assert rules.keys() == alerts().keys()
    assert {name: rule["lastError"] for name, rule in rules.items() if rule["health"] != "ok"} == {}
    assert [name for name, rule in rules.items() if rule["state"] == "firing"] == []


@pytest.mark.parametrize("name", alerts())
def test_what_an_alert_looks_at_is_there_before_anything_is_wrong(prometheus: Prometheus, name: str):
    for selector in selectors(alerts()[name]["expr"]):
        assert prometheus.query(str(selector)) or selector.metric in MAY_BE_EMPTY, selector


@pytest.mark.parametrize(
    "page", [RUNBOOKS.parent / "observability.md", *sorted(RUNBOOKS.glob("*.md"))], ids=lambda page: page.stem
)
def test_the_queries_of_a_page_are_understood(prometheus: Prometheus, page: Path):
    for query in fenced(page.read_text(encoding="utf-8"), "promql"):
        prometheus.query(query)


def test_the_commands_of_the_runbooks_work(prometheus: Prometheus, api: Cluster, tmp_path: Path):
    pages = [page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md")]
    environment = {
        "PATH": f"{binaries.kubectl().parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),  # for kubectl's cache
        "KUBECONFIG": str(api.kubeconfig),
        "NAMESPACE": TEAM,
        "RUN": "broken",
    }
    for command in sorted({line for page in pages for line in fenced(page, "sh")}):
        script = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout or "No resources found" in done.stderr, command

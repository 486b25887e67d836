"""What people and machines see from outside: kubectl, a GitOps tool, /metrics, and the log.

All runs go side by side under one operator: two that succeed (one of them after a retry), one that fails, one that is
suspended, and two that train until the end, one of which a GitOps tool applied.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lupa.lua51 import LuaRuntime
from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.support import builders
from tests.support.install import CHECKOUT, OperatorProcess
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import Document, Runs, condition

from llm2llm.records import Stage, StepDocument
from llm2llm_operator.reasons import Reason

NAMESPACE = "outside"
APPLY = ("apply", "--server-side", "--field-manager=argocd", "-f", "-")
HEALTH_CHECK = yaml.safe_load((CHECKOUT / "examples" / "gitops" / "argocd-cm.yaml").read_text())["data"][
    "resource.customizations.health.llm2llm.dev_AugmentationRun"
]
ENDED = ("plain", "retried", "broken")


def play(step: StepDocument) -> Ending:
    """The run's name says what its pods do."""
    if step.run == "broken" and step.stage is Stage.PREPARE:
        return Ending(exit_code=65, message="seed.jsonl, line 3: no JSON")
    if step.run == "retried" and step.stage is Stage.EVALUATE and step.attempt == 0:
        return Ending(exit_code=75, message="the store is away")
    if step.run in ("training", "gitops") and step.stage is Stage.TRAIN:
        return Ending(message=succeed(step).message, seconds=math.inf)
    return succeed(step)


class Team(Runs):
    """The runs of a namespace, with kubectl."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)


@pytest.fixture(scope="module")
def team(api: Cluster) -> Iterator[Team]:
    api.create_namespace(NAMESPACE)
    yield Team(api, NAMESPACE)
    api.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture(scope="module")
def operator(api: Cluster, team: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder: Path = tmp_path_factory.mktemp("operator")
    environment = {"LLM2LLM_NAMESPACES": NAMESPACE, "LLM2LLM_LOG_FORMAT": "json"}
    with PodEnder(api, seconds=0.5, script=play), OperatorProcess(api, folder, environment=environment) as process:
        team.create("held", suspend=True)
        for name in (*ENDED, "training"):
            team.create(name, maxIterations=1 if name == "retried" else 2)
        team.kubectl(*APPLY, stdin=manifest("gitops"))
        yield process


@pytest.fixture(scope="module")
def statuses(operator: OperatorProcess, team: Team) -> dict[str, Document]:
    """The statuses of all runs, where nothing moves any more."""
    found = {name: team.wait_for_end(name) for name in ENDED}
    found |= {name: team.wait(name, trains) for name in ("training", "gitops")}
    found["held"] = team.wait("held", lambda status: status.get("phase") == "Suspended")
    return found


def trains(status: Document) -> bool:
    return {"stage": "Train", "state": "Running"}.items() <= (status.get("currentStep") or {}).items()


def manifest(name: str) -> str:
    kind = {"apiVersion": "llm2llm.dev/v1alpha1", "kind": "AugmentationRun"}
    return yaml.safe_dump({**kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": builders.spec()})


def records(status: Document) -> list[Document]:
    return [*status.get("steps", ()), *(step for row in status.get("iterations", ()) for step in row.get("steps", ()))]


# --- /metrics


@pytest.fixture(scope="module")
def scraped(statuses: dict[str, Document], operator: OperatorProcess) -> dict[tuple[str, ...], float]:
    """/metrics, a moment after the last write."""
    deadline = time.monotonic() + 20
    while (found := operator.metrics())["llm2llm_runs", "Succeeded"] < 2 or found["llm2llm_queue_depth",] > 0:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_steps_in_the_metrics_are_those_in_the_statuses(
    scraped: dict[tuple[str, ...], float], statuses: dict[str, Document]
):
    recorded = [step for status in statuses.values() for step in records(status)]
    expected = Counter((step["outcome"], step["stage"]) for step in recorded) + Counter({("InvalidData", "Prepare"): 1})
    assert {name[1:]: value for name, value in scraped.items() if name[0] == "llm2llm_steps_total"} == expected
    for stage in ("Prepare", "Train", "Evaluate", "Generate"):
        of_stage = [step for step in recorded if step["stage"] == stage]
        assert scraped["llm2llm_step_seconds_count", stage] == len(of_stage)
        assert scraped["llm2llm_step_seconds_sum", stage] == sum(step["activeSeconds"] for step in of_stage)
        assert scraped["llm2llm_step_wait_seconds_count", stage, "Pending"] >= len(of_stage)


def test_what_the_teacher_did_in_the_metrics_is_what_the_statuses_say(
    scraped: dict[tuple[str, ...], float], statuses: dict[str, Document]
):
    def total(field: str) -> int:
        return sum(status.get("usage", {}).get(field, 0) for status in statuses.values())

    rows = [row for status in statuses.values() for row in status.get("iterations", ())]
    assert scraped["llm2llm_teacher_requests_total", NAMESPACE] == total("teacherRequests") > 0
    assert scraped["llm2llm_teacher_tokens_total", "input", NAMESPACE] == total("teacherInputTokens") > 0
    assert scraped["llm2llm_teacher_tokens_total", "output", NAMESPACE] == total("teacherOutputTokens") > 0
    assert scraped["llm2llm_examples_total", NAMESPACE, "kept"] == sum(row.get("kept", 0) for row in rows) > 0
    assert (
        scraped["llm2llm_examples_total", NAMESPACE, "dropped"]
        == sum(row.get("generated", 0) - row.get("kept", 0) for row in rows)
        > 0
    )


def test_runs_in_the_metrics_are_those_of_the_cluster(scraped: dict[tuple[str, ...], float]):
    phases = {name[1]: value for name, value in scraped.items() if name[0] == "llm2llm_runs"}
    assert phases == {"Pending": 0, "Queued": 0, "Running": 2, "Suspended": 1, "Succeeded": 2, "Failed": 1}
    assert scraped["llm2llm_runs_held", "SuspendedByUser"] == 1
    assert scraped["llm2llm_runs_ended_total", "Complete", "MaxIterationsReached"] == 2
    assert scraped["llm2llm_runs_ended_total", "Failed", "InvalidData"] == 1
    assert {name[1:]: value for name, value in scraped.items() if name[0] == "llm2llm_retries_total"} == {
        ("transient", "Evaluate"): 1
    }


def test_the_operators_own_numbers_are_there(scraped: dict[tuple[str, ...], float]):
    assert scraped["llm2llm_leader",] == 1
    assert scraped["llm2llm_queue_oldest_seconds",] == 0
    assert scraped["llm2llm_reconciles_total", "ok"] > 0
    assert scraped["llm2llm_queue_seconds_count",] >= scraped["llm2llm_reconcile_seconds_count",] > 0
    assert scraped["llm2llm_loop_lag_seconds_count",] > 0
    assert scraped["llm2llm_api_writes_total", "create"] > 0


def test_no_series_names_a_run(scraped: dict[tuple[str, ...], float]):
    assert {label for name in scraped for label in name[1:]} & {
        *ENDED,
        "training",
        "gitops",
        "held",
    } == set()


# --- the log


def test_every_line_of_the_log_is_json_and_says_which_attempt_it_is_about(
    statuses: dict[str, Document], operator: OperatorProcess, team: Team
):
    lines = operator.log_entries()
    assert all(list(line)[:4] == ["ts", "level", "logger", "message"] for line in lines)
    created = {
        (line["run"], line["step"], line["attempt"]) for line in lines if line["message"].startswith("created Job")
    }
    assert {(f"{NAMESPACE}/retried", "i000-evaluate", attempt) for attempt in (0, 1)} <= created
    uids = {line["uid"] for line in lines if line.get("run") == f"{NAMESPACE}/plain"}
    assert uids == {team.get("plain")["metadata"]["uid"]}


# --- kubectl


def test_kubectl_can_wait_for_a_run(statuses: dict[str, Document], team: Team):
    for name, kind in (("plain", "Complete"), ("broken", "Failed"), ("held", "Suspended")):
        told = team.kubectl("wait", f"--for=condition={kind}", f"arun/{name}", "--timeout=180s")
        assert told == f"augmentationrun.llm2llm.dev/{name} condition met\n"


def test_kubectl_get_shows_the_designed_columns(statuses: dict[str, Document], team: Team):
    header, *rows = team.kubectl("get", "arun").splitlines()
    assert header.split() == ["NAME", "PHASE", "STAGE", "ITERATION", "ACCURACY", "MISTAKES", "COST", "AGE"]
    cells = {
        row.split()[0]: [row[header.index(name) :].split("  ")[0].strip() for name in header.split()] for row in rows
    }
    accuracy, tokens = statuses["plain"]["summary"]["accuracy"], statuses["plain"]["summary"]["cost"]
    assert cells["plain"][1:7] == ["Succeeded", "", "1", accuracy, "10/40", tokens]
    assert cells["training"][1:4] == ["Running", "Train", "0"]
    assert cells["held"][1:2] == ["Suspended"]
    wide = team.kubectl("get", "arun", "-o", "wide")
    assert "MESSAGE" in wide
    assert "seed.jsonl, line 3: no JSON" in wide


def test_kubectl_explain_reads_like_documentation(team: Team):
    told = team.kubectl("explain", "arun.spec.train.lora")
    for words in (
        "FIELD: lora",
        "Adapter settings; must not be set",
        "r\t<integer>",
        "Rank of the update matrices",
        "Dropout probability of the adapter's inputs during training",
    ):
        assert words in told
    assert "The observed state of the run" in team.kubectl("explain", "arun.status")


# --- GitOps


def test_applying_the_same_again_while_it_runs_changes_nothing(statuses: dict[str, Document], team: Team):
    before = team.get("gitops")
    assert team.kubectl("diff", *APPLY[1:], stdin=manifest("gitops")) == ""
    team.kubectl(*APPLY, stdin=manifest("gitops"))
    after = team.get("gitops")
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_the_operator_owns_status_and_nothing_else(operator: OperatorProcess, team: Team):
    team.wait("training", trains)
    metadata = json.loads(team.kubectl("get", "arun", "training", "-o", "json", "--show-managed-fields"))["metadata"]
    [ours] = [entry for entry in metadata["managedFields"] if entry.get("subresource") == "status"]
    assert set(ours["fieldsV1"]) == {"f:status"}
    assert not metadata.keys() & {"annotations", "finalizers"}


KSTATUS = {"plain": "Current", "retried": "Current", "broken": "Failed", "training": "Current", "held": "Current"}
"""Current means accepted: a run takes days, and nobody's deployment should wait for it."""


@pytest.mark.parametrize("name", KSTATUS)
def test_kstatus_takes_a_run_for_current_once_it_is_accepted(statuses: dict[str, Document], team: Team, name: str):
    run = team.get(name)
    told = {kind: condition(run["status"], kind).get("status") for kind in ("Reconciling", "Stalled")}
    assert told == {"Reconciling": "False", "Stalled": "True" if name == "broken" else "False"}
    edited = {**run, "metadata": run["metadata"] | {"generation": 2}}  # as it is until the operator has seen an edit
    assert kstatus(run, edited) == [KSTATUS[name], "InProgress"]


HEALTH = {
    "plain": "Healthy",
    "retried": "Healthy",
    "broken": "Degraded",
    "training": "Progressing",
    "held": "Suspended",
}


@pytest.mark.parametrize("name", HEALTH)
def test_argo_cd_says_what_a_run_needs(statuses: dict[str, Document], team: Team, name: str):
    run = team.get(name)
    assert argo_cd_health(run) == (HEALTH[name], run["status"]["message"])
    edited = {**run, "metadata": run["metadata"] | {"generation": 2}}
    assert argo_cd_health(edited) == ("Progressing", "the operator has not seen generation 2 yet")
    assert argo_cd_health({**run, "status": None}) == ("Progressing", "waiting for the operator")


def test_argo_cd_calls_a_run_degraded_that_waits_for_a_person(statuses: dict[str, Document], team: Team):
    run = team.get("training")
    told = re.findall(r"(\w+) = true", HEALTH_CHECK)
    assert set(told) <= {reason.value for reason in Reason}
    for reason in (*told, "Queued"):
        run["status"]["conditions"] = [{"type": "Progressing", "status": "False", "reason": reason}]
        assert argo_cd_health(run)[0] == ("Progressing" if reason == "Queued" else "Degraded")


def argo_cd_health(run: Document) -> tuple[str, str]:
    """Evaluates the health check as Argo CD does: a piece of Lua that finds the object in `obj`."""
    lua = LuaRuntime()
    lua.globals().obj = lua.table_from(run, recursive=True)
    health = lua.execute(HEALTH_CHECK)
    return health.status, health.message


def kstatus(*objects: Document) -> list[str]:
    documents = "".join(json.dumps(document) for document in objects)
    return subprocess.run(
        [binaries.kstatus()], input=documents, capture_output=True, text=True, check=True
    ).stdout.split()

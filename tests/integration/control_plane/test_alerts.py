"""The chart's alerts under promtool: each fires when what it is about happens, and none when all is well."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import binaries
from tests.support.promql import ALERTS, alerts

OPERATOR = 'namespace="llm2llm-system",job="llm2llm-metrics"'
POD = f'{OPERATOR},pod="a"'
WAIT = f'{POD},stage="Train",state'
Series = dict[str, str]
"""Values of series in promtool's notation, one a minute: `2+3x10` is 2 and ten times 3 more, `_x10` none."""

CALM: Series = {
    f"llm2llm_leader{{{POD}}}": "1x2000",
    f'llm2llm_leader{{{OPERATOR},pod="b"}}': "0x2000",
    f"llm2llm_watch_restarts_total{{{POD}}}": "0x100 1x1900",
    f'llm2llm_api_errors_total{{{POD},code="404"}}': "0+20x2000",
    f'llm2llm_api_errors_total{{{POD},code="409"}}': "0+20x2000",
    f'llm2llm_api_errors_total{{{POD},code="500"}}': "0+1x2000",
    f'llm2llm_api_writes_total{{{POD},kind="lease"}}': "0+30x2000",
    f'llm2llm_api_writes_total{{{POD},kind="status"}}': "0+20x2000",
    f"llm2llm_queue_oldest_seconds{{{POD}}}": "0.1x2000",
    f'llm2llm_loop_lag_seconds_bucket{{{POD},le="0.025"}}': "0+240x2000",
    f'llm2llm_loop_lag_seconds_bucket{{{POD},le="30.0"}}': "0+240x2000",
    f'llm2llm_loop_lag_seconds_bucket{{{POD},le="+Inf"}}': "0+240x2000",
    f"llm2llm_unreadable_objects_total{{{POD}}}": "0x2000",
    f'llm2llm_reconciles_total{{{POD},result="ok"}}': "0+60x2000",
    f'llm2llm_reconciles_total{{{POD},result="error"}}': "0x2000",
    f"llm2llm_write_conflicts_total{{{POD}}}": "0+1x2000",
    f'llm2llm_runs_ended_total{{{POD},condition="Complete",reason="GoalReached"}}': "0+1x2000",
    f'llm2llm_runs_ended_total{{{POD},condition="Failed",reason="InvalidData"}}': "0x10 2x1990",
    f'llm2llm_runs{{{POD},phase="Queued"}}': "5x2000",
    f'llm2llm_runs_waiting{{{POD},reason="Queued"}}': "5x2000",
    f'llm2llm_runs_waiting{{{POD},reason="Unschedulable"}}': "2x2000",
    f'llm2llm_runs_waiting{{{POD},reason="ImagePullBackOff"}}': "1x50 _x1950",
    f'llm2llm_runs_held{{{POD},reason="SuspendedByUser"}}': "3x2000",
    f'llm2llm_runs_held{{{POD},reason="AwaitingApproval"}}': "1x1000 _x1000",
    f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le="900.0"}}': "0+1x2000",
    f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le="1800.0"}}': "0+1x2000",
    f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le="+Inf"}}': "0+1x2000",
    f'llm2llm_step_wait_seconds_count{{{WAIT}="Queued"}}': "0+1x2000",
}
"""An operator at work, with a failure, a conflict, and a restart of the watches now and then."""

LEADER = f"llm2llm_leader{{{POD}}}"
RESTARTS = f"llm2llm_watch_restarts_total{{{POD}}}"
ERRORS = f'llm2llm_api_errors_total{{{POD},code="500"}}'
OLDEST = f"llm2llm_queue_oldest_seconds{{{POD}}}"
PUNCTUAL = f'llm2llm_loop_lag_seconds_bucket{{{POD},le="0.025"}}'
CONFLICTS = f"llm2llm_write_conflicts_total{{{POD}}}"
FAILED = f'llm2llm_runs_ended_total{{{POD},condition="Failed",reason="InvalidData"}}'
PULLING = f'llm2llm_runs_waiting{{{POD},reason="ImagePullBackOff"}}'
PENDING = f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le='
ADMITTED = f'llm2llm_step_wait_seconds_count{{{WAIT}="Queued"}}'
QUEUED = f'llm2llm_runs{{{POD},phase="Queued"}}'
NOTHING_WRITTEN = {series: "100x2000" for series in CALM if series.startswith("llm2llm_api_writes_total")}


FIRES = [
    pytest.param("LLM2LLMOperatorAbsent", "11m", dict.fromkeys(CALM, "_x2000"), id="nothing is scraped"),
    pytest.param("LLM2LLMNoLeader", "4m", {LEADER: "0x2000"}, id="both replicas stand by"),
    pytest.param("LLM2LLMWatchesRestart", "25m", {RESTARTS: "0+0x10 0+1x10 10x100"}, id="watches die again and again"),
    pytest.param("LLM2LLMApiErrors", "20m", {ERRORS: "0+6x2000"}, id="one request fails for eight writes"),
    pytest.param(
        "LLM2LLMApiErrors", "20m", NOTHING_WRITTEN | {ERRORS: "0+6x2000"}, id="all requests fail: nothing is written"
    ),
    pytest.param("LLM2LLMQueueDelayed", "20m", {OLDEST: "0x10 60+60x100"}, id="no worker comes to a run"),
    pytest.param("LLM2LLMLoopLag", "15m", {PUNCTUAL: "0+230x2000"}, id="one turn in 24 is late"),
    pytest.param(
        "LLM2LLMUnreadableObjects", "25m", {f"llm2llm_unreadable_objects_total{{{POD}}}": "0x10 1x100"}, id="one object"
    ),
    pytest.param(
        "LLM2LLMInternalErrors",
        "20m",
        {f'llm2llm_reconciles_total{{{POD},result="error"}}': "0x10 1x100"},
        id="one pass with a bug",
    ),
    pytest.param("LLM2LLMWriteConflicts", "30m", {CONFLICTS: "0+5x2000"}, id="one status write in four is refused"),
    pytest.param("LLM2LLMRunsFail", "30m", {FAILED: "0x10 1x10 3x100"}, id="three runs fail for the same reason"),
    pytest.param("LLM2LLMRunsStuck", "61m", {PULLING: "1x2000"}, id="an image that nobody can pull"),
    pytest.param(
        "LLM2LLMRunsHeld",
        "25h",
        {f'llm2llm_runs_held{{{POD},reason="AwaitingApproval"}}': "1x2000"},
        id="nobody approves for a day",
    ),
    pytest.param(
        "LLM2LLMStepsPending",
        "30m",
        {f'{PENDING}"1800.0"}}': "0+2x2000", f'{PENDING}"+Inf"}}': "0+2x2000"},
        id="every other pod waits for more than 15 minutes",
    ),
    pytest.param("LLM2LLMQueueStalled", "7h", {ADMITTED: "7x2000"}, id="runs are queued and none is admitted"),
]
"""What happens instead, and when which alert fires."""
CALM_ALL_THE_SAME = [
    pytest.param({LEADER: "1x20 0x1 1x2000"}, id="a fail-over"),
    pytest.param({RESTARTS: "0x10 3x100"}, id="a rolling restart of three API servers"),
    pytest.param({ERRORS: "0x10 0+30x8 240x2000"}, id="an API server that is away for eight minutes"),
    pytest.param({OLDEST: "0x10 90x3 0x2000"}, id="three minutes of long waits"),
    pytest.param({FAILED: "0x10 2x2000"}, id="two runs fail for the same reason"),
    pytest.param({CONFLICTS: "0x10 0+5x5 25x2000"}, id="a burst of conflicts"),
    pytest.param({QUEUED: "0x2000", ADMITTED: "7x2000"}, id="nobody is queued and none is admitted"),
]


@pytest.fixture(scope="session")
def promtool() -> Path:
    return binaries.promtool()


def firing(promtool: Path, folder: Path, world: Series, expected: dict[str, list[str]]) -> str:
    """Lets promtool compare the alerts that fire in this world, by time, with the expected ones; what it complains of."""
    checks: list[dict[str, Any]] = [
        {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": time,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
        }
        for time, names in expected.items()
    ]
    series = [{"series": name, "values": values} for name, values in world.items()]
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": checks}],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run([str(promtool), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_finds_nothing_wrong_with_the_rules(promtool: Path):
    done = subprocess.run([str(promtool), "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_there_is_a_case_for_each_alert():
    assert {case.values[0] for case in FIRES} == set(alerts())


@pytest.mark.parametrize("instead", [pytest.param({}, id="a busy day"), *CALM_ALL_THE_SAME])
def test_none_fires_while_all_is_well(promtool: Path, tmp_path: Path, instead: Series):
    times: dict[str, list[str]] = {f"{minutes}m": [] for minutes in (*range(1, 60, 3), 100, 400, 800, 1800)}
    assert firing(promtool, tmp_path, world(instead), times) == ""


@pytest.mark.parametrize(("name", "time", "instead"), FIRES)
def test_an_alert_fires_alone_when(promtool: Path, tmp_path: Path, name: str, time: str, instead: Series):
    assert firing(promtool, tmp_path, world(instead), {"1m": [], time: [name]}) == ""


def world(instead: Series) -> Series:
    """The calm one but for these series."""
    assert instead.keys() <= CALM.keys(), "a series that nothing looks at"
    return CALM | instead


def test_an_alert_is_worded_with_its_labels_and_its_value(promtool: Path, tmp_path: Path):
    annotations = alerts()["LLM2LLMRunsFail"]["annotations"] | {
        "description": "In the last hour, 3 runs failed with InvalidData."
    }
    labels = {"severity": "warning", "reason": "InvalidData", "namespace": "llm2llm-system", "job": "llm2llm-metrics"}
    check = {
        "eval_time": "30m",
        "alertname": "LLM2LLMRunsFail",
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
    }
    series = [{"series": name, "values": values} for name, values in world({FAILED: "0x10 3x100"}).items()]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [check]}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}))
    done = subprocess.run([str(promtool), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

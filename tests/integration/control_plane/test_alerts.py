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

FIRES: dict[str, tuple[Series, str]] = {
    "LLM2LLMOperatorAbsent": (dict.fromkeys(CALM, "_x2000"), "11m"),
    "LLM2LLMNoLeader": ({f"llm2llm_leader{{{POD}}}": "0x2000"}, "4m"),
    "LLM2LLMWatchesRestart": ({f"llm2llm_watch_restarts_total{{{POD}}}": "0+0x10 0+1x10 10x100"}, "25m"),
    "LLM2LLMApiErrors": ({f'llm2llm_api_errors_total{{{POD},code="500"}}': "0+6x2000"}, "20m"),
    "LLM2LLMQueueOld": ({f"llm2llm_queue_oldest_seconds{{{POD}}}": "0x10 60+60x100"}, "20m"),
    "LLM2LLMLoopLag": ({f'llm2llm_loop_lag_seconds_bucket{{{POD},le="0.025"}}': "0+230x2000"}, "15m"),
    "LLM2LLMUnreadableObjects": ({f"llm2llm_unreadable_objects_total{{{POD}}}": "0x10 1x100"}, "25m"),
    "LLM2LLMInternalErrors": ({f'llm2llm_reconciles_total{{{POD},result="error"}}': "0x10 1x100"}, "20m"),
    "LLM2LLMWriteConflicts": ({f"llm2llm_write_conflicts_total{{{POD}}}": "0+5x2000"}, "30m"),
    "LLM2LLMRunsFail": (
        {f'llm2llm_runs_ended_total{{{POD},condition="Failed",reason="InvalidData"}}': "0x10 1x10 3x100"},
        "30m",
    ),
    "LLM2LLMRunsStuck": ({f'llm2llm_runs_waiting{{{POD},reason="ImagePullBackOff"}}': "1x2000"}, "61m"),
    "LLM2LLMRunsHeld": ({f'llm2llm_runs_held{{{POD},reason="AwaitingApproval"}}': "1x2000"}, "25h"),
    "LLM2LLMStepsPending": (
        {
            f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le="900.0"}}': "0+1x2000",
            f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le="1800.0"}}': "0+2x2000",
            f'llm2llm_step_wait_seconds_bucket{{{WAIT}="Pending",le="+Inf"}}': "0+2x2000",
        },
        "30m",
    ),
    "LLM2LLMQueueStands": ({f'llm2llm_step_wait_seconds_count{{{WAIT}="Queued"}}': "7x2000"}, "7h"),
}
"""What happens instead, and when the alert fires."""


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
    assert FIRES.keys() == alerts().keys()


def test_none_fires_while_all_is_well(promtool: Path, tmp_path: Path):
    times: dict[str, list[str]] = {time: [] for time in ("5m", "20m", "1h", "2h", "7h", "13h", "30h")}
    assert firing(promtool, tmp_path, CALM, times) == ""


@pytest.mark.parametrize("name", FIRES)
def test_an_alert_fires_alone_when_what_it_is_about_happens(promtool: Path, tmp_path: Path, name: str):
    instead, time = FIRES[name]
    assert instead.keys() <= CALM.keys()
    assert firing(promtool, tmp_path, CALM | instead, {"1m": [], time: [name]}) == ""


def test_an_alert_is_worded_with_its_labels_and_its_value(promtool: Path, tmp_path: Path):
    instead, _ = FIRES["LLM2LLMRunsFail"]
    annotations = alerts()["LLM2LLMRunsFail"]["annotations"] | {
        "description": "In the last hour, 3 runs failed with InvalidData."
    }
    labels = {"severity": "warning", "reason": "InvalidData", "namespace": "llm2llm-system", "job": "llm2llm-metrics"}
    check = {
        "eval_time": "30m",
        "alertname": "LLM2LLMRunsFail",
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
    }
    series = [{"series": name, "values": values} for name, values in (CALM | instead).items()]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [check]}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}))
    done = subprocess.run([str(promtool), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from tests.support import builders

from llm2llm_operator.model.summary import summarize
from llm2llm_operator.observability import metrics


def status(phase: str, **conditions: tuple[str, str]) -> dict[str, Any]:
    told = [{"type": kind, "status": value, "reason": reason} for kind, (value, reason) in conditions.items()]
    return {"phase": phase, "conditions": told}


def test_runs_are_counted_by_phase_and_by_what_they_wait_for():
    statuses = [
        {},
        status("Running", Progressing=("True", "Training")),
        status("Queued", Progressing=("False", "Queued")),
        status("Suspended", Suspended=("True", "AwaitingApproval"), Progressing=("False", "AwaitingApproval")),
        status("Suspended", Suspended=("True", "AwaitingApproval"), Progressing=("False", "AwaitingApproval")),
        status("Failed", Failed=("True", "InvalidData"), Progressing=("False", "InvalidData")),
        status("Succeeded", Complete=("True", "NoMistakes"), Progressing=("False", "NoMistakes")),
    ]
    counted = metrics.RunStates()
    counted.count(lambda: [summarize(builders.run(one)) for one in statuses])
    registry = CollectorRegistry()
    registry.register(counted)
    lines = {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}
    assert lines == {
        'llm2llm_runs{phase="Pending"} 1.0',
        'llm2llm_runs{phase="Queued"} 1.0',
        'llm2llm_runs{phase="Running"} 1.0',
        'llm2llm_runs{phase="Suspended"} 2.0',
        'llm2llm_runs{phase="Succeeded"} 1.0',
        'llm2llm_runs{phase="Failed"} 1.0',
        'llm2llm_runs_held{reason="AwaitingApproval"} 2.0',
        'llm2llm_runs_waiting{reason="Queued"} 1.0',
    }


def test_no_metric_has_a_label_for_the_run():
    ours = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    assert len(ours) > 15
    assert {label for metric in ours for label in metric._labelnames} & {"run", "name", "uid"} == set()


def test_what_can_fail_is_there_before_it_fails_so_that_the_first_failure_is_an_increase():
    series = {line.rpartition(" ")[0] for line in generate_latest().decode().splitlines()}
    assert {
        'llm2llm_runs_ended_total{condition="Failed",reason="StepFailed"}',
        'llm2llm_runs_ended_total{condition="Complete",reason="GoalReached"}',
        'llm2llm_reconciles_total{result="error"}',
        'llm2llm_step_wait_seconds_count{stage="Train",state="Queued"}',
    } <= series

"""Generates the Grafana dashboard of the chart: a table of panels becomes the JSON that Grafana imports.

Every replica reports the state of runs, so it is read by max; only the leader counts what happens to them. The variable
`job` selects an installation. `namespace` is that of the runs, and only what they spent has it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 39
COLUMNS, HEIGHT, WIDTH = 24, 8, 8
"""Grafana's grid, and the place that a panel takes in it."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
Document = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """A panel: its queries by their legends. `unit` is one of Grafana's, `kind` a type of panel."""

    title: str
    unit: str
    queries: dict[str, str]
    description: str
    kind: str = "timeseries"


def quantiles(metric: str, by: str, window: str, labels: str = "") -> dict[str, str]:
    """Returns the queries for the median and the 99th percentile of a histogram, by these labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", ") if label)
    group = f"{by}, le" if by else "le"
    selector = f'{metric}_bucket{{job=~"$job"{labels}}}'
    return {
        f"{legend} {name}".strip(): f"histogram_quantile({share}, sum by ({group}) (rate({selector}[{window}])))"
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def hourly(metric: str, by: str, labels: str = "", window: str = "1h") -> str:
    """Returns the query for how much a counter grew in an hour, or in another window, by these labels."""
    return f'sum by ({by}) (increase({metric}{{job=~"$job"{labels}}}[{window}]))'


def rates(metric: str, by: str) -> dict[str, str]:
    """Returns the query for how fast a counter grows, by this label."""
    return {f"{{{{{by}}}}}": f'sum by ({by}) (rate({metric}{{job=~"$job"}}[{RECENT}]))'}


RECENT = "$__rate_interval"
SPENT = ', namespace=~"$namespace"'
ROWS: dict[str, list[Panel]] = {
    "Runs": [
        Panel(
            "Runs by phase", "short", {"{{phase}}": 'max by (phase) (llm2llm_runs{job=~"$job"})'},
            "How many runs are in each phase now.", "stat",
        ),
        Panel(
            "Runs that make no progress", "short",
            {"{{reason}}": 'max by (reason) (llm2llm_runs_waiting{job=~"$job"})'},
            "By the reason of the condition Progressing=False; docs/reference/endings.md explains each.",
        ),
        Panel(
            "Runs that wait for a person", "short", {"{{reason}}": 'max by (reason) (llm2llm_runs_held{job=~"$job"})'},
            "By the reason of the condition Suspended.",
        ),
    ],
    "Steps and waits": [
        Panel(
            "Steps ended in an hour", "short",
            {"{{stage}} {{outcome}}": hourly("llm2llm_steps_total", "stage, outcome")},
            "By stage and outcome.",
        ),
        Panel(
            "Duration of steps", "s", quantiles("llm2llm_step_seconds", "stage", "6h"),
            "How long the containers of steps that succeeded ran, all attempts together, over six hours.",
        ),
        Panel(
            "Waits before a step starts", "s", quantiles("llm2llm_step_wait_seconds", "stage, state", "6h"),
            "Queued: the Job is suspended by its queue. Pending: the pod waits for a node, its image, or its volumes.",
        ),
    ],
    "Failures": [
        Panel(
            "Runs ended in an hour", "short", {"{{condition}}": hourly("llm2llm_runs_ended_total", "condition")},
            "Complete or Failed.",
        ),
        Panel(
            "Failures in an hour, by reason", "short",
            {"{{reason}}": hourly("llm2llm_runs_ended_total", "reason", ', condition="Failed"') + " > 0"},
            "Reasons of the condition Failed; docs/reference/endings.md says what each means.",
        ),
        Panel(
            "Retries, disruptions, and requeues in an hour", "short",
            {
                "{{stage}} {{cause}}": hourly("llm2llm_retries_total", "stage, cause"),
                "{{stage}} disrupted": hourly("llm2llm_disruptions_total", "stage"),
                "{{stage}} requeued": hourly("llm2llm_requeues_total", "stage"),
            },
            "Retries have limits in the run's spec.retries, disruptions in maxDisruptions, requeues by a queue none.",
        ),
    ],
    "Spending": [
        Panel(
            "Teacher tokens in an hour", "short",
            {"{{namespace}} {{direction}}": hourly("llm2llm_teacher_tokens_total", "namespace, direction", SPENT)},
            "By namespace of the runs.",
        ),
        Panel(
            "Teacher requests in an hour", "short",
            {"{{namespace}}": hourly("llm2llm_teacher_requests_total", "namespace", SPENT)},
            "Requests that the teacher answered.",
        ),
        Panel(
            "Rows of the teacher in an hour", "short",
            {"{{namespace}} {{verdict}}": hourly("llm2llm_examples_total", "namespace, verdict", SPENT)},
            "Rows that were kept, and rows that a filter dropped.",
        ),
        Panel(
            "Cost in an hour", "short", {"{{namespace}}": hourly("llm2llm_cost_total", "namespace", SPENT)},
            "Teacher and GPUs of runs that set prices, in the currency of those prices.",
        ),
        Panel(
            "Cost in the time shown", "short",
            {"{{namespace}}": hourly("llm2llm_cost_total", "namespace", SPENT, "$__range")},
            "Teacher and GPUs of runs that set prices, in the currency of those prices.", "stat",
        ),
        Panel(
            "GPU seconds in an hour", "s",
            {"{{namespace}}": hourly("llm2llm_gpu_seconds_total", "namespace", SPENT)},
            "GPUs multiplied by the seconds that containers held them, counted when a step is recorded.",
        ),
    ],
    "Operator": [
        Panel(
            "Leader", "short", {"{{pod}}": 'max by (pod) (llm2llm_leader{job=~"$job"})'},
            "1 for the replica that writes. Nobody at 1 means that no run advances.",
        ),
        Panel(
            "Queue", "s", {"oldest": 'max(llm2llm_queue_oldest_seconds{job=~"$job"})'}
            | quantiles("llm2llm_queue_seconds", "", RECENT),
            "How long the run at the head has waited for its reconcile pass, and how long runs had waited.",
        ),
        Panel(
            "Reconcile pass", "s", quantiles("llm2llm_reconcile_seconds", "", RECENT),
            "Duration of a pass over a run.",
        ),
        Panel(
            "Passes a second, by result", "ops",
            rates("llm2llm_reconciles_total", "result"),
            "error is a bug; unavailable is the API server; conflict is a write of somebody else.",
        ),
        Panel(
            "Event loop lag", "s", quantiles("llm2llm_loop_lag_seconds", "pod", RECENT),
            "How late timers fire. A leader that is 15 s late loses its Lease.",
        ),
        Panel(
            "Runs in the queue", "short", {"depth": 'max(llm2llm_queue_depth{job=~"$job"})'},
            "Runs that wait for a reconcile pass.",
        ),
        Panel(
            "API writes a second", "ops",
            rates("llm2llm_api_writes_total", "kind"),
            "By kind. An idle operator renews its Lease, and nothing else.",
        ),
        Panel(
            "API errors a second", "ops",
            rates("llm2llm_api_errors_total", "code")
            | {"status conflicts": f'sum(rate(llm2llm_write_conflicts_total{{job=~"$job"}}[{RECENT}]))'},
            "By HTTP status. 404 and 409 belong to normal work; status conflicts are among the 409.",
        ),
        Panel(
            "Watches", "short",
            {
                "{{collection}} events": hourly("llm2llm_watch_events_total", "collection"),
                "{{pod}} restarts": hourly("llm2llm_watch_restarts_total", "pod"),
                "{{pod}} unreadable": hourly("llm2llm_unreadable_objects_total", "pod"),
            },
            "Events, restarts of the watches, and objects that could not be read, in an hour.",
        ),
        Panel(
            "Memory", "bytes", {"{{pod}}": 'max by (pod) (process_resident_memory_bytes{job=~"$job"})'},
            "Resident memory of each replica.",
        ),
        Panel(
            "CPU", "short", rates("process_cpu_seconds_total", "pod"),
            "CPUs that each replica uses.",
        ),
    ],
}  # fmt: skip


def dashboard() -> Document:
    """Returns the dashboard, as Grafana imports it."""
    return {
        "uid": "llm2llm-operator",
        "title": "LLM2LLM",
        "description": "Runs of the LLM2LLM operator, what they spend, and the operator itself.",
        "tags": ["llm2llm"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                {
                    "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                    "regex": "", "hide": 0, "refresh": 1, "multi": False, "includeAll": False, "current": {},
                    "options": [],
                },
                _variable("job", "Installation", "label_values(llm2llm_leader, job)"),
                _variable("namespace", "Runs in", "label_values(llm2llm_teacher_requests_total, namespace)"),
            ]
        },
        "panels": list(_panels()),
    }  # fmt: skip


def _variable(name: str, label: str, query: str) -> Document:
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE,
        "query": {"query": query, "refId": name}, "regex": "", "hide": 0, "refresh": 2, "sort": 1, "multi": True,
        "includeAll": True, "allValue": ".*", "current": everything, "options": [],
    }  # fmt: skip


def _panels() -> Iterator[Document]:
    number, top = 0, 0
    for title, panels in ROWS.items():
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        top += 1
        for index, panel in enumerate(panels):
            number += 1
            line, column = divmod(index, COLUMNS // WIDTH)
            yield _panel(number, panel, {"x": column * WIDTH, "y": top + line * HEIGHT, "w": WIDTH, "h": HEIGHT})
        top += HEIGHT * -(-len(panels) * WIDTH // COLUMNS)


def _panel(number: int, panel: Panel, place: Document) -> Document:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": _options(panel.kind),
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _options(kind: str) -> Document:
    if kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "none"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def main() -> int:
    """Writes the dashboard to the given file."""
    Path(sys.argv[1]).write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

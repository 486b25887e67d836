"""Defines the Prometheus metrics, by stage, outcome or namespace; never by run, whose own numbers are in its status.

Events in the life of runs are counted from the difference that a status write made (`status_metrics.py`), the current
state of runs is read from the cache at each scrape, and the rest shows how the operator itself works.
docs/reference/metrics.md is generated from this module.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from llm2llm.records import Stage
from llm2llm_operator.model.summary import RunSummary
from llm2llm_operator.reasons import About, Reason

MINUTE, HOUR = 60, 3600
_SHORT = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (1, 10, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR / 2, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 24 * HOUR)
WAITS: Final = ("Pending", "Queued")
"""States of an attempt before its container starts."""
PHASES: Final = ("Pending", "Queued", "Running", "Suspended", "Succeeded", "Failed")

# --- what happened to runs
STEPS = Counter(
    "llm2llm_steps",
    "Number of steps that ended. outcome: Succeeded; Failed if the run ended before the step did; or the reason that "
    "the step failed with.",
    ["stage", "outcome"],
)
STEP_SECONDS = Histogram(
    "llm2llm_step_seconds",
    "Seconds that the containers of a step that succeeded ran, over all its attempts.",
    ["stage"],
    buckets=_LONG,
)
STEP_WAIT_SECONDS = Histogram(
    "llm2llm_step_wait_seconds",
    "Seconds that an attempt spent in a state before its container started. state: Pending, or Queued (its Job is "
    "suspended).",
    ["stage", "state"],
    buckets=_LONG,
)
RETRIES = Counter(
    "llm2llm_retries",
    "Number of retries. cause: transient, outOfMemory, jobDeleted, lostReport, refused (by a kubelet), suspended (also "
    "by the budget), replaced (after an edit), or asked (by spec.retry).",
    ["stage", "cause"],
)
DISRUPTIONS = Counter("llm2llm_disruptions", "Number of pods that were evicted or preempted.", ["stage"])
REQUEUES = Counter("llm2llm_requeues", "Number of Jobs that their queue suspended while they ran.", ["stage"])
RUNS_ENDED = Counter(
    "llm2llm_runs_ended", "Number of runs that ended. condition: Complete or Failed.", ["condition", "reason"]
)

# --- what runs spent; by namespace, because it is the runs' images that report it and the runs' specs that set prices
TEACHER_REQUESTS = Counter("llm2llm_teacher_requests", "Number of requests that the teacher answered.", ["namespace"])
TEACHER_TOKENS = Counter(
    "llm2llm_teacher_tokens", "Number of teacher tokens. direction: input or output.", ["namespace", "direction"]
)
GPU_SECONDS = Counter("llm2llm_gpu_seconds", "GPUs multiplied by the seconds that containers held them.", ["namespace"])
COST = Counter(
    "llm2llm_cost",
    "Cost of teacher and GPUs, for runs that set prices, in the currency of those prices.",
    ["namespace"],
)
EXAMPLES = Counter(
    "llm2llm_examples",
    "Number of rows that the teacher wrote. verdict: kept, or dropped by a filter.",
    ["namespace", "verdict"],
)

# --- how the operator fares
RECONCILES = Counter(
    "llm2llm_reconciles",
    "Number of reconcile passes. result: ok, conflict, gone, not-leading, unavailable or error.",
    ["result"],
)
RECONCILE_SECONDS = Histogram("llm2llm_reconcile_seconds", "Duration of a reconcile pass, in seconds.", buckets=_SHORT)
QUEUE_DEPTH = Gauge(
    "llm2llm_queue_depth", "Number of runs that wait for a reconcile pass; 0 if this process is not the leader."
)
QUEUE_AGE = Gauge(
    "llm2llm_queue_oldest_seconds", "Seconds that the longest-waiting run has waited for a reconcile pass."
)
QUEUE_SECONDS = Histogram("llm2llm_queue_seconds", "Seconds that a run waited for its reconcile pass.", buckets=_SHORT)
API_WRITES = Counter(
    "llm2llm_api_writes", "Number of writes to the API server. kind: status, create, delete, event or lease.", ["kind"]
)
API_ERRORS = Counter(
    "llm2llm_api_errors",
    "Number of requests to the API server that failed. code: the HTTP status, or connection.",
    ["code"],
)
CONFLICTS = Counter(
    "llm2llm_write_conflicts", "Number of status writes rejected because the object had changed (HTTP 409)."
)
WATCH_EVENTS = Counter(
    "llm2llm_watch_events", "Number of watch events. collection: runs, jobs or pods.", ["collection"]
)
UNREADABLE_OBJECTS = Counter(
    "llm2llm_unreadable_objects",
    "Number of objects skipped in lists and watches because they could not be read, e.g. nested too deeply. The log "
    "tells of them.",
)
WATCH_RESTARTS = Counter("llm2llm_watch_restarts", "Number of times that the supervisor restarted the watches.")
LOOP_LAG = Histogram(
    "llm2llm_loop_lag_seconds",
    "Delay of the event loop in seconds: how much later than scheduled a timer fired; measured four times a second.",
    buckets=_SHORT,
)
CRD_DIFFERS = Gauge(
    "llm2llm_crd_differs",
    "1 if the API server's CRD does not have the fields that this operator knows, or has more, else 0. The log names "
    "them.",
)
LEADER = Gauge("llm2llm_leader", "1 if this process is the leader, else 0.")

# A counter that begins with 1 has no increase, and an alert would miss the first failure: these begin with 0.
for _result in ("ok", "conflict", "gone", "not-leading", "unavailable", "error"):
    RECONCILES.labels(_result)
for _condition in (About.COMPLETE, About.FAILED):
    for _reason in (reason for reason in Reason if _condition in reason.about):
        RUNS_ENDED.labels(_condition.value, _reason.value)
for _stage in Stage:
    for _state in WAITS:
        STEP_WAIT_SECONDS.labels(_stage.value, _state)

# --- how runs are now: name, help, label
RUNS = ("llm2llm_runs", "Number of runs, by phase.", "phase")
RUNS_HELD = (
    "llm2llm_runs_held",
    "Number of runs that wait for a person, by the reason of the condition Suspended.",
    "reason",
)
RUNS_WAITING = (
    "llm2llm_runs_waiting",
    "Number of runs that make no progress, by the reason of the condition Progressing=False.",
    "reason",
)


class RunStates(Collector):
    """Counts the runs of a cache anew at each scrape: increments would drift, and a restart would reset them."""

    def __init__(self) -> None:
        self._summaries: Callable[[], Iterable[RunSummary]] = tuple

    def count(self, summaries: Callable[[], Iterable[RunSummary]]) -> None:
        """Sets the function that returns the summaries of the runs to count."""
        self._summaries = summaries

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields one metric family for each of RUNS, RUNS_HELD and RUNS_WAITING."""
        phases, held, waiting = Tally(dict.fromkeys(PHASES, 0)), Tally[str](), Tally[str]()
        for summary in self._summaries():
            phases[summary.phase] += 1
            held[summary.held] += bool(summary.held)
            waiting[summary.waiting] += bool(summary.waiting)
        for (name, description, label), numbers in ((RUNS, phases), (RUNS_HELD, held), (RUNS_WAITING, waiting)):
            family = GaugeMetricFamily(name, description, labels=[label])
            for value, number in sorted(numbers.items()):
                if value:
                    family.add_metric([value], number)
            yield family


RUN_STATES = RunStates()
REGISTRY.register(RUN_STATES)

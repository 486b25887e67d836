"""Prometheus metrics, by stage and outcome; never by run, whose own numbers live in its status.

What happened to runs is counted from the difference that a status write made (`status_metrics.py`), how runs are now is
read from the cache when somebody scrapes, and the rest is how the operator itself fares. docs/reference/metrics.md is
generated from here.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from llm2llm_operator.model.summary import RunSummary

MINUTE, HOUR = 60, 3600
_SHORT = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (1, 10, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR / 2, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 24 * HOUR)
PHASES: Final = ("Pending", "Queued", "Running", "Suspended", "Succeeded", "Failed")

# --- what happened to runs
STEPS = Counter(
    "llm2llm_steps",
    "Steps that ended. outcome: Succeeded, Failed where the run ended without it, or the reason with which it failed.",
    ["stage", "outcome"],
)
STEP_SECONDS = Histogram(
    "llm2llm_step_seconds",
    "What the containers of a step that succeeded ran, over all its attempts.",
    ["stage"],
    buckets=_LONG,
)
STEP_WAIT_SECONDS = Histogram(
    "llm2llm_step_wait_seconds",
    "How long an attempt was in this state before its container ran. state: Pending, or Queued (its Job is suspended).",
    ["stage", "state"],
    buckets=_LONG,
)
RETRIES = Counter(
    "llm2llm_retries",
    "Further attempts. cause: transient, outOfMemory, jobDeleted, lostReport, suspended (also by the budget), or asked"
    " (by spec.retry).",
    ["stage", "cause"],
)
DISRUPTIONS = Counter("llm2llm_disruptions", "Pods of a step that were evicted or preempted.", ["stage"])
RUNS_ENDED = Counter(
    "llm2llm_runs_ended", "Runs that came to an end. condition: Complete or Failed.", ["condition", "reason"]
)
TEACHER_REQUESTS = Counter("llm2llm_teacher_requests", "Requests that the teacher answered.")
TEACHER_TOKENS = Counter("llm2llm_teacher_tokens", "Tokens of the teacher. direction: input or output.", ["direction"])
GPU_SECONDS = Counter("llm2llm_gpu_seconds", "GPUs times the seconds that containers had them.")
COST = Counter("llm2llm_cost", "Money for teacher and GPUs, of runs that tell prices, in the currency of those.")
EXAMPLES = Counter(
    "llm2llm_examples", "Rows that the teacher wrote. verdict: kept, or dropped by a filter.", ["verdict"]
)

# --- how the operator fares
RECONCILES = Counter(
    "llm2llm_reconciles", "Passes. result: ok, conflict, gone, not-leading, unavailable or error.", ["result"]
)
RECONCILE_SECONDS = Histogram("llm2llm_reconcile_seconds", "Duration of a pass.", buckets=_SHORT)
QUEUE_DEPTH = Gauge("llm2llm_queue_depth", "Runs that wait for a pass; 0 where this process does not lead.")
QUEUE_AGE = Gauge("llm2llm_queue_oldest_seconds", "How long the first of them has waited.")
QUEUE_SECONDS = Histogram("llm2llm_queue_seconds", "How long a run waited for its pass.", buckets=_SHORT)
API_WRITES = Counter(
    "llm2llm_api_writes", "Writes to the API server. kind: status, create, delete, event or lease.", ["kind"]
)
API_ERRORS = Counter("llm2llm_api_errors", "Requests that failed. code: the HTTP status, or connection.", ["code"])
CONFLICTS = Counter("llm2llm_write_conflicts", "Status writes that met a newer version.")
WATCH_EVENTS = Counter("llm2llm_watch_events", "Objects that the watches told of: runs, jobs or pods.", ["collection"])
WATCH_RESTARTS = Counter("llm2llm_watch_restarts", "Restarts of the watches by their supervisor.")
LOOP_LAG = Histogram(
    "llm2llm_loop_lag_seconds", "How much later than asked for the event loop turned, once a second.", buckets=_SHORT
)
LEADER = Gauge("llm2llm_leader", "1 while this process may write, else 0.")

# --- how runs are now: name, help, label
RUNS = ("llm2llm_runs", "Runs by phase.", "phase")
RUNS_HELD = ("llm2llm_runs_held", "Runs that wait for a person, by the reason of Suspended.", "reason")
RUNS_WAITING = ("llm2llm_runs_waiting", "Runs that make no progress, by the reason of Progressing=False.", "reason")


class RunStates(Collector):
    """Counts the runs of a cache anew at each scrape: increments would drift, and a restart would forget them."""

    def __init__(self) -> None:
        self._standings: Callable[[], Iterable[RunSummary]] = tuple

    def count(self, standings: Callable[[], Iterable[RunSummary]]) -> None:
        """From now on these runs are counted."""
        self._standings = standings

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family for each of the three."""
        phases, held, waiting = Tally(dict.fromkeys(PHASES, 0)), Tally[str](), Tally[str]()
        for standing in self._standings():
            phases[standing.phase] += 1
            held[standing.held] += bool(standing.held)
            waiting[standing.waiting] += bool(standing.waiting)
        for (name, words, label), numbers in ((RUNS, phases), (RUNS_HELD, held), (RUNS_WAITING, waiting)):
            family = GaugeMetricFamily(name, words, labels=[label])
            for value, number in sorted(numbers.items()):
                if value:
                    family.add_metric([value], number)
            yield family


RUN_STATES = RunStates()
REGISTRY.register(RUN_STATES)

"""Prometheus metrics, by stage and outcome; never by run, whose own numbers live in its status."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

API_WRITES = Counter("llm2llm_api_writes", "Writes to the API server.", ["kind"])
API_ERRORS = Counter("llm2llm_api_errors", "Requests to the API server that failed.", ["code"])
CONFLICTS = Counter("llm2llm_write_conflicts", "Status writes that met a newer version.")
RECONCILES = Counter("llm2llm_reconciles", "Passes, by result.", ["result"])
RECONCILE_SECONDS = Histogram("llm2llm_reconcile_seconds", "Duration of a pass.")
QUEUE_DEPTH = Gauge("llm2llm_queue_depth", "Runs that wait for a pass.")
STEPS = Counter("llm2llm_steps", "Steps that ended, by stage and event.", ["event"])
WATCH_RESTARTS = Counter("llm2llm_watch_restarts", "Restarts of the watches by their supervisor.")
LEADER = Gauge("llm2llm_leader", "1 while this process may write, else 0.")
LOOP_LAG = Histogram(
    "llm2llm_loop_lag_seconds",
    "How late the event loop turned.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

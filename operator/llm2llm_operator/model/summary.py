"""Summarizes the state of a run in a few fixed words: for metrics, and for the order of a resync."""

from __future__ import annotations

import sys
from typing import NamedTuple

from llm2llm_operator.constants import COMPLETE, FAILED, PROGRESSING, SUSPENDED
from llm2llm_operator.model.run import Run


class RunSummary(NamedTuple):
    """The state of a run; `held` and `waiting` are the reasons of conditions, or empty."""

    phase: str
    finished: bool
    held: str
    waiting: str


def summarize(run: Run) -> RunSummary:
    """Derives the summary from the conditions of a run's status."""
    conditions = {condition.get("type"): condition for condition in run.status.get("conditions") or ()}
    true = {kind for kind, condition in conditions.items() if condition.get("status") == "True"}
    finished = bool(true & {COMPLETE, FAILED})
    held = conditions[SUSPENDED].get("reason", "") if SUSPENDED in true and not finished else ""
    progressing = conditions.get(PROGRESSING, {})
    is_waiting = progressing.get("status") == "False" and not finished and not held
    waiting = progressing.get("reason", "") if is_waiting else ""
    return RunSummary(sys.intern(run.status.get("phase") or "Pending"), finished, sys.intern(held), sys.intern(waiting))

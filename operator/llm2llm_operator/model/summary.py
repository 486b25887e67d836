"""How a run is now, in a small vocabulary: for metrics, and for the order of a resync."""

from __future__ import annotations

import sys
from typing import NamedTuple

from llm2llm_operator.constants import COMPLETE, FAILED, PROGRESSING, SUSPENDED
from llm2llm_operator.model.run import Run


class RunSummary(NamedTuple):
    """How a run is now, in words of a small vocabulary: `held` and `waiting` are reasons, empty where it is neither."""

    phase: str
    finished: bool
    held: str
    waiting: str


def summarize(run: Run) -> RunSummary:
    """The standing that the status of a run tells."""
    conditions = {one.get("type"): one for one in run.status.get("conditions") or ()}
    true = {kind for kind, one in conditions.items() if one.get("status") == "True"}
    at_rest = bool(true & {COMPLETE, FAILED})
    held = conditions[SUSPENDED].get("reason", "") if SUSPENDED in true and not at_rest else ""
    progressing = conditions.get(PROGRESSING, {})
    waits = progressing.get("status") == "False" and not at_rest and not held
    waiting = progressing.get("reason", "") if waits else ""
    return RunSummary(sys.intern(run.status.get("phase") or "Pending"), at_rest, sys.intern(held), sys.intern(waiting))

"""PURE: says in words how a run on a cluster is doing, from its object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm2llm.loop.outcomes import describe_iteration, iteration_label
from llm2llm.plaintext import plain
from llm2llm_cluster.next_steps import next_step, reason_of
from llm2llm_operator.reasons import Reason

Run = Mapping[str, Any]
Row = dict[str, Any]


def iteration_rows(run: Run) -> list[Row]:
    """Returns a row for each iteration, with the score that it is judged by."""
    return [_iteration(row, _metric(run)) for row in _status(run).get("iterations") or ()]


def iteration_columns(run: Run) -> list[str]:
    """Returns the columns of these rows, also if there are none."""
    return list(_iteration({}, _metric(run)))


def _metric(run: Run) -> str:
    return str(((run.get("spec") or {}).get("objective") or {}).get("metric", "accuracy"))


def _iteration(row: Mapping[str, Any], metric: str) -> Row:
    scores = {(score.get("dataset"), score.get("name")): score for score in row.get("metrics") or ()}
    datasets = [dataset for dataset in ("evaluation", "probe", "seed") if (dataset, metric) in scores]
    score = scores[datasets[0], metric] if datasets else {}
    return {
        "iteration": iteration_label(int(row.get("index", 0))),
        "train rows": row.get("trainExamples", ""),
        metric: score.get("value", ""),
        "interval": f"{score['low']}-{score['high']}" if "low" in score and "high" in score else "",
        "mistakes": row.get("mistakes", ""),
        "kept": row.get("kept", ""),
    }


def is_seen(run: Run) -> bool:
    """Returns whether the status takes the newest spec into account; one without a generation counts as such."""
    observed = _status(run).get("observedGeneration")
    return not observed or int(observed) >= int((run.get("metadata") or {}).get("generation") or 0)


def headline(run: Run) -> str:
    """Returns a sentence: what the run does or waits for."""
    status, name = _status(run), str((run.get("metadata") or {}).get("name"))
    phase, step = status.get("phase"), status.get("currentStep") or {}
    if not phase:
        return f"{name} has no status yet: the operator has not seen it; does it run, and watch this namespace?"
    where = f", {step['stage']} of {describe_iteration(int(step.get('iteration', 0)))}" if step.get("stage") else ""
    attempt = f", attempt {int(step['attempt']) + 1}" if step.get("attempt") else ""
    return plain(f"{name} is {phase}{where}{attempt}: {status.get('message') or 'no message'}")


def explain(run: Run) -> Iterator[str]:
    """Yields sentences: what the run does or waits for, what that reason means, and what to do next."""
    status = _status(run)
    yield headline(run)
    if not status.get("phase"):
        return
    if not is_seen(run):
        yield "The operator has not seen the newest change of the spec yet, so this may be over in a moment."
        return
    reason = reason_of(run)
    meaning = next((known.sentence for known in Reason if known.value == reason), "")
    if meaning:
        yield f"{reason}: {meaning}"
    if message := (status.get("currentStep") or {}).get("message"):
        yield plain(f"The attempt before ended with: {message}")
    if advice := next_step(run):
        yield plain(advice)


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """Yields name and value of what a run has: where its artifacts are, its best student, and what it used."""
    status = _status(run)
    best, usage = status.get("best") or {}, status.get("usage") or {}
    if status.get("artifactsUri"):
        yield "artifacts", str(status["artifactsUri"])
        yield "report", f"{status['artifactsUri']}/report/index.html"
    if best:
        interval = f"{best.get('low')}-{best.get('high')}"
        yield "best", f"iteration {best.get('iteration')}, {best.get('metric')} {best.get('value')} ({interval})"
        yield "student", f"{best.get('modelUri')} {best.get('digest')}"
    if usage:
        yield "used", ", ".join(f"{name} {value}" for name, value in usage.items() if value not in (None, "", 0, "0"))


def _status(run: Run) -> Mapping[str, Any]:
    return run.get("status") or {}

"""Computes how long the containers of an attempt ran (rule C16), from the pods, so that passing time costs no write."""

from __future__ import annotations

from datetime import datetime

from llm2llm_operator.model.observation import Pod


def closed_seconds(pods: list[Pod], counted_until: str = "") -> int:
    """Returns the seconds that the ended containers of these pods ran; clock skew counts as 0, never as less.

    Args:
        pods: of one attempt's Job; they run one after the other.
        counted_until: containers that ended up to this RFC 3339 time are already counted.
    """
    known = datetime.fromisoformat(counted_until) if counted_until else None
    ended = [pod for pod in pods if pod.finished and (known is None or pod.finished > known)]
    spans = [(pod.finished - pod.started).total_seconds() for pod in ended if pod.started and pod.finished]
    return round(sum(max(0.0, span) for span in spans))


def open_seconds(pods: list[Pod], now: datetime) -> float | None:
    """Returns the seconds that the running container has run, or None if none is running."""
    spans = [(now - pod.started).total_seconds() for pod in pods if pod.started and not pod.finished]
    return max(0.0, *spans, 0.0) if spans else None

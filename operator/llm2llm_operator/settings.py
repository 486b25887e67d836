"""Settings of the operator process, read from its environment once at start-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llm2llm.records import Stage


@dataclass(frozen=True)
class Settings:
    """Each field is set by the environment variable in its comment; the chart sets them from its values."""

    namespaces: tuple[str, ...] = ()  # LLM2LLM_NAMESPACES, comma separated; empty: all
    images: dict[Stage, str] = field(default_factory=dict)  # LLM2LLM_IMAGE_PREPARE, _TRAIN, _EVALUATE, _GENERATE
    http_host: str = "0.0.0.0"  # noqa: S104 - LLM2LLM_HTTP_HOST; a kubelet probes the pod's address
    http_port: int = 8080  # LLM2LLM_HTTP_PORT; 0 takes a free one
    workers: int = 16  # LLM2LLM_WORKERS: runs that are looked at beside each other
    write_rate: float = 100.0  # LLM2LLM_WRITE_RATE: API writes a second
    write_burst: int = 200  # LLM2LLM_WRITE_BURST
    resync_seconds: float = 300.0  # LLM2LLM_RESYNC_SECONDS: bounds how stale a cache can be
    backoff_seconds: float = 10.0  # LLM2LLM_BACKOFF_SECONDS: before the first retry of a step; doubles, at most 5 min

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Reads the settings.

        Raises:
            ValueError: a number is none; names the variable.
        """

        def number(name: str, default: float) -> float:
            text = environ.get(name, "")
            try:
                return float(text) if text else default
            except ValueError as error:
                raise ValueError(f"{name} must be a number, not {text!r}") from error

        namespaces = environ.get("LLM2LLM_NAMESPACES", "")
        return cls(
            namespaces=tuple(part.strip() for part in namespaces.split(",") if part.strip()),
            images={stage: environ.get(f"LLM2LLM_IMAGE_{stage.value.upper()}", "") for stage in Stage},
            http_host=environ.get("LLM2LLM_HTTP_HOST", cls.http_host),
            http_port=int(number("LLM2LLM_HTTP_PORT", cls.http_port)),
            workers=int(number("LLM2LLM_WORKERS", cls.workers)),
            write_rate=number("LLM2LLM_WRITE_RATE", cls.write_rate),
            write_burst=int(number("LLM2LLM_WRITE_BURST", cls.write_burst)),
            resync_seconds=number("LLM2LLM_RESYNC_SECONDS", cls.resync_seconds),
            backoff_seconds=number("LLM2LLM_BACKOFF_SECONDS", cls.backoff_seconds),
        )

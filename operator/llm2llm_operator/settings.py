"""Reads the settings of the operator process from its environment, once at start-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llm2llm.loop.stages import STAGES
from llm2llm.records import Stage
from llm2llm_operator.constants import OPERATOR
from llm2llm_operator.observability.logs import FORMATS

WRITE_RATE = 500.0
"""API writes a second. Enough to begin and end 100 steps a second: each takes a create, two status writes, a delete and
an Event. It limits the burst after an outage; if the API server can take less, it answers 429, and the rate is
halved.
"""


@dataclass(frozen=True)
class Settings:
    """The settings; each field has its environment variable in a comment, which the chart sets from its values."""

    namespaces: tuple[str, ...] = ()  # LLM2LLM_NAMESPACES, comma separated; empty: all
    namespace: str = ""  # LLM2LLM_NAMESPACE: the operator's own, where its Lease is
    lease: str = OPERATOR  # LLM2LLM_LEASE: each release in a namespace has its own
    identity: str = ""  # LLM2LLM_IDENTITY: unique to this process; empty: derived from the host name
    leader_election: bool = True  # LLM2LLM_LEADER_ELECTION: true or false; false only for a single replica
    kueue: bool = False  # LLM2LLM_KUEUE: true or false; true reads Kueue's Workloads, to say why a Job is suspended
    # LLM2LLM_IMAGE_PREPARE, _TRAIN, _EVALUATE (also for Test), _GENERATE
    images: dict[Stage, str] = field(default_factory=dict)
    fs_group: int | None = 65532  # LLM2LLM_FS_GROUP: group of the steps' volumes; empty: the cluster decides
    log_format: str = "text"  # LLM2LLM_LOG_FORMAT: json or text
    http_host: str = "0.0.0.0"  # noqa: S104 - LLM2LLM_HTTP_HOST; a kubelet probes the pod's address
    http_port: int = 8080  # LLM2LLM_HTTP_PORT; 0: any free port
    metrics_tls_folder: str = ""  # LLM2LLM_METRICS_TLS_FOLDER: has tls.crt and tls.key; empty: /metrics without TLS
    metrics_port: int = 8443  # LLM2LLM_METRICS_PORT: of /metrics with TLS; without, it is on the HTTP port
    workers: int = 64  # LLM2LLM_WORKERS: runs reconciled concurrently; mostly they wait for a response
    write_rate: float = WRITE_RATE  # LLM2LLM_WRITE_RATE: API writes a second
    write_burst: int = 1000  # LLM2LLM_WRITE_BURST: two seconds' worth
    resync_seconds: float = 300.0  # LLM2LLM_RESYNC_SECONDS: bounds how stale a cache can be
    backoff_seconds: float = 10.0  # LLM2LLM_BACKOFF_SECONDS: before a step's first retry; doubles, up to 5 min

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Reads the settings.

        Raises:
            ValueError: a value is missing or invalid; the message names the variable.
        """

        def number(name: str, default: float) -> float:
            text = environ.get(name, "")
            try:
                return float(text) if text else default
            except ValueError as error:
                raise ValueError(f"{name} must be a number, not {text!r}") from error

        def group(name: str, default: int) -> int | None:
            text = environ.get(name, str(default))
            if text and not (text.isdecimal() and int(text) < 2**31):
                raise ValueError(f"{name} must be the number of a group, or empty, not {text!r}")
            return int(text) if text else None

        def switch(name: str, default: str) -> bool:
            text = environ.get(name, "") or default
            if text not in ("true", "false"):
                raise ValueError(f"{name} must be true or false, not {text!r}")
            return text == "true"

        election = switch("LLM2LLM_LEADER_ELECTION", "true")
        log_format = environ.get("LLM2LLM_LOG_FORMAT", "") or cls.log_format
        if log_format not in FORMATS:
            raise ValueError(f"LLM2LLM_LOG_FORMAT must be json or text, not {log_format!r}")
        namespace = environ.get("LLM2LLM_NAMESPACE", "")
        if election and not namespace:
            raise ValueError(
                "LLM2LLM_NAMESPACE must be the operator's own namespace, which holds its Lease; to run a single "
                "operator outside a cluster, set LLM2LLM_LEADER_ELECTION=false instead"
            )
        namespaces = environ.get("LLM2LLM_NAMESPACES", "")
        return cls(
            namespaces=tuple(dict.fromkeys(part.strip() for part in namespaces.split(",") if part.strip())),
            namespace=namespace,
            lease=environ.get("LLM2LLM_LEASE", "") or cls.lease,
            identity=environ.get("LLM2LLM_IDENTITY", ""),
            leader_election=election,
            kueue=switch("LLM2LLM_KUEUE", "false"),
            images={
                stage: environ.get(f"LLM2LLM_IMAGE_{stage.value.upper()}", "")
                for stage in Stage
                if STAGES[stage].image == stage.value.lower()
            },
            fs_group=group("LLM2LLM_FS_GROUP", 65532),
            log_format=log_format,
            http_host=environ.get("LLM2LLM_HTTP_HOST", cls.http_host),
            http_port=int(number("LLM2LLM_HTTP_PORT", cls.http_port)),
            metrics_tls_folder=environ.get("LLM2LLM_METRICS_TLS_FOLDER", ""),
            metrics_port=int(number("LLM2LLM_METRICS_PORT", cls.metrics_port)),
            workers=int(number("LLM2LLM_WORKERS", cls.workers)),
            write_rate=number("LLM2LLM_WRITE_RATE", cls.write_rate),
            write_burst=int(number("LLM2LLM_WRITE_BURST", cls.write_burst)),
            resync_seconds=number("LLM2LLM_RESYNC_SECONDS", cls.resync_seconds),
            backoff_seconds=number("LLM2LLM_BACKOFF_SECONDS", cls.backoff_seconds),
        )

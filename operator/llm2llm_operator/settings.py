"""Reads the settings of the operator process from its environment, once at start-up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llm2llm.api.pods import Resources
from llm2llm.loop.stages import STAGES
from llm2llm.records import Stage
from llm2llm_operator.build.poddefaults import PodDefaults
from llm2llm_operator.constants import OPERATOR
from llm2llm_operator.observability.logs import FORMATS

WRITE_RATE = 500.0
"""API writes a second. Enough to begin and end 100 steps a second: each takes a create, two status writes, a delete and
an Event. It limits the burst after an outage; if the API server can take less, it answers 429, and the rate is
halved.
"""

PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
STEP_BLOCKS: Final = tuple(dict.fromkeys(traits.block for traits in STAGES.values()))
_RESOURCES = TypeAdapter(dict[str, Resources])


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
    # LLM2LLM_FS_GROUP, _IMAGE_PULL_SECRETS, _IMAGE_PULL_POLICY, _STEP_RESOURCES: defaults for the steps' pods
    pod_defaults: PodDefaults = field(default_factory=lambda: PodDefaults(fs_group=65532))
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

        def number(name: str, default: float, least: float = 0) -> float:
            text = environ.get(name, "")
            try:
                value = float(text) if text else default
            except ValueError as error:
                raise ValueError(f"{name} must be a number, not {text!r}") from error
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be at least {least}, not {text!r}")
            return value

        def group(name: str, default: int) -> int | None:
            text = environ.get(name, str(default))
            if text and not (text.isdecimal() and int(text) < 2**31):
                raise ValueError(f"{name} must be the number of a group, or empty, not {text!r}")
            return int(text) if text else None

        def word(name: str, default: str, *allowed: str) -> str:
            text = environ.get(name, "") or default
            if text not in allowed:
                raise ValueError(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1] or 'empty'}, not {text!r}")
            return text

        def switch(name: str, default: str) -> bool:
            return word(name, default, "true", "false") == "true"

        election = switch("LLM2LLM_LEADER_ELECTION", "true")
        namespace = environ.get("LLM2LLM_NAMESPACE", "")
        if election and not namespace:
            raise ValueError(
                "LLM2LLM_NAMESPACE must be the operator's own namespace, which holds its Lease; to run a single "
                "operator outside a cluster, set LLM2LLM_LEADER_ELECTION=false instead"
            )
        return cls(
            namespaces=_names(environ.get("LLM2LLM_NAMESPACES", "")),
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
            pod_defaults=PodDefaults(
                fs_group=group("LLM2LLM_FS_GROUP", 65532),
                pull_secrets=_names(environ.get("LLM2LLM_IMAGE_PULL_SECRETS", "")),
                pull_policy=word("LLM2LLM_IMAGE_PULL_POLICY", "", *PULL_POLICIES, ""),
                resources=_step_resources(environ.get("LLM2LLM_STEP_RESOURCES", "")),
            ),
            log_format=word("LLM2LLM_LOG_FORMAT", cls.log_format, *FORMATS),
            http_host=environ.get("LLM2LLM_HTTP_HOST", cls.http_host),
            http_port=int(number("LLM2LLM_HTTP_PORT", cls.http_port)),
            metrics_tls_folder=environ.get("LLM2LLM_METRICS_TLS_FOLDER", ""),
            metrics_port=int(number("LLM2LLM_METRICS_PORT", cls.metrics_port)),
            workers=int(number("LLM2LLM_WORKERS", cls.workers, least=1)),
            write_rate=number("LLM2LLM_WRITE_RATE", cls.write_rate, least=0.1),
            write_burst=int(number("LLM2LLM_WRITE_BURST", cls.write_burst, least=1)),
            resync_seconds=number("LLM2LLM_RESYNC_SECONDS", cls.resync_seconds, least=1),
            backoff_seconds=number("LLM2LLM_BACKOFF_SECONDS", cls.backoff_seconds),
        )


def _names(text: str) -> tuple[str, ...]:
    """Returns the names in a list with commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _step_resources(text: str) -> dict[str, Resources]:
    """Returns the default resources by step block, from a JSON object: `{"train": {"requests": {"cpu": "1"}}}`.

    Raises:
        ValueError: it is not one, names another block, or sets a GPU: those are counted by what a run requests.
    """
    try:
        document = json.loads(text or "{}", parse_int=str, parse_float=str)  # a quantity may be written as a number
        found = _RESOURCES.validate_python(document, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"LLM2LLM_STEP_RESOURCES: {where}: {first['msg']}") from error
    except ValueError as error:
        raise ValueError(f"LLM2LLM_STEP_RESOURCES must be a JSON object, not {text!r}") from error
    for block, resources in found.items():
        if block not in STEP_BLOCKS:
            raise ValueError(f"LLM2LLM_STEP_RESOURCES: {block} is not one of {', '.join(STEP_BLOCKS)}")
        gpus = [name for name in resources.requests | resources.limits if name.endswith("/gpu")]
        if gpus:
            raise ValueError(f"LLM2LLM_STEP_RESOURCES: {block} must not set {gpus[0]}: GPUs are requested by each run")
    return found

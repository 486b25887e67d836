"""Defines what the operator's settings add to the pods of steps, unless a run decides. Pure.

None of it is a part of what a Job is made from (`build/settings.py`): a changed default counts from the next Job on,
and replaces none that is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm2llm.api.pods import Resources


@dataclass(frozen=True)
class PodDefaults:
    """The operator's defaults for the pods of steps.

    Attributes:
        fs_group: group of the volumes; None: the cluster decides.
        pull_secrets: names of Secrets with credentials for registries, in each namespace of runs.
        pull_policy: of the operator's images; empty, and for images that a run names: the cluster decides.
        resources: by step block (`prepare`, `train`, `evaluate`, `generate`).
    """

    fs_group: int | None = None
    pull_secrets: tuple[str, ...] = ()
    pull_policy: str = ""
    resources: Mapping[str, Resources] = field(default_factory=dict)


NO_DEFAULTS = PodDefaults()


def merge_resources(own: Resources, default: Resources | None) -> dict[str, Any]:
    """Returns the resources of a container: the step block's own, and the defaults of those that it does not name.

    A resource that the block names in either list is its alone: a default request beside its limit could be larger than
    that, and Kubernetes takes a limit for the request that is left out.
    """
    named = own.requests.keys() | own.limits.keys()
    parts = {}
    for part in ("requests", "limits"):
        defaults = getattr(default, part) if default else {}
        amounts = {name: amount for name, amount in defaults.items() if name not in named} | getattr(own, part)
        if amounts:
            parts[part] = amounts
    return parts


def pull_secrets_of(own: Sequence[str], defaults: Sequence[str]) -> list[dict[str, str]]:
    """Returns the references of a pod: the run's own Secrets, and then the operator's, each once."""
    return [{"name": name} for name in dict.fromkeys((*own, *defaults))]

"""PURE: which pods a fault is meant for, and the faults that last until they are released."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tests.cluster.podspec import Spec

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"

# Lasting: in force from when it is set until it is released. The others happen once, to pods that run.
Lasting = Literal["hold", "image_pull_backoff", "invalid_image_name", "stuck_terminating"]
Once = Literal["evict", "oom", "kill"]


@dataclass(frozen=True)
class Match:
    """Pods by namespace and by the start of their name, of their Job's name, or by labels; empty means any."""

    namespace: str = ""
    job: str = ""
    pod: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def accepts(self, pod: Spec) -> bool:
        meta = pod["metadata"]
        labels = meta.get("labels", {})
        return (
            self.namespace in ("", meta["namespace"])
            and meta["name"].startswith(self.pod)
            and labels.get(JOB_NAME_LABEL, "").startswith(self.job)
            and all(labels.get(key) == value for key, value in self.labels.items())
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Rule:
    """A lasting fault. With a count it is for the first so many pods that it meets, and stays with those."""

    kind: Lasting
    match: Match
    count: int | None = None
    keep_running: bool = False
    met: set[str] = field(default_factory=set)

    def applies(self, pod: Spec) -> bool:
        uid = pod["metadata"]["uid"]
        if uid in self.met:
            return True
        if not self.match.accepts(pod) or (self.count is not None and len(self.met) >= self.count):
            return False
        self.met.add(uid)
        return True


class Rules:
    """The lasting faults in force, by their ids."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._ids = itertools.count(1)

    def add(self, rule: Rule) -> str:
        name = f"{rule.kind}-{next(self._ids)}"
        self._rules[name] = rule
        return name

    def release(self, name: str | None) -> None:
        """Ends one fault, or all of them. An unknown id is an error, so that a typing mistake is noticed."""
        if name is None:
            self._rules.clear()
        else:
            del self._rules[name]

    def find(self, kind: Lasting, pod: Spec) -> Rule | None:
        return next((rule for rule in self._rules.values() if rule.kind == kind and rule.applies(pod)), None)

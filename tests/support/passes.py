"""Passes over one run, against an API server that keeps what is written to it in order."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llm2llm.records import Stage
from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.errors import ApiError, Conflict
from llm2llm_operator.reconcile import Reconciler
from llm2llm_operator.settings import Settings
from llm2llm_operator.watch.cache import Cache
from tests.support import builders

Document = dict[str, Any]


@dataclass
class Api:
    """An API server with one run; `refuse` holds what a kind of request is answered with instead."""

    run: Document
    writes: list[str] = field(default_factory=list)
    events: list[Document] = field(default_factory=list)
    jobs: dict[str, Document] = field(default_factory=dict)
    pods: list[Document] = field(default_factory=list)
    events_that_warn: list[Document] = field(default_factory=list)
    workloads: list[Document] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    refuse: dict[str, ApiError] = field(default_factory=dict)
    version: int = 100

    def _write(self, kind: str, what: str) -> str:
        if kind in self.refuse:
            raise self.refuse[kind]
        self.writes.append(f"{kind} {what}".rstrip())
        self.version += 1
        return str(self.version)

    async def get_run(self, *_: str) -> Document:
        return copy.deepcopy(self.run)

    async def get_job(self, _: str, name: str) -> Document | None:
        return self.jobs.get(name)

    async def pods_of_job(self, *_: str) -> list[Document]:
        if "read" in self.refuse:
            raise self.refuse["read"]
        return self.pods

    async def workloads_of_job(self, _: str, job_uid: str) -> list[Document]:
        self.reads.append(f"workloads of {job_uid}")
        if "read" in self.refuse:
            raise self.refuse["read"]
        return self.workloads

    async def warnings(self, _: str) -> AsyncIterator[Document]:
        for event in self.events_that_warn:
            yield event

    async def patch_status(self, _namespace: str, _name: str, version: int, patch: Document) -> Document:
        if str(version) != self.run["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        self.run["metadata"]["resourceVersion"] = self._write("status", "")
        self.run["status"] = merged(self.run.get("status", {}), patch)
        return copy.deepcopy(self.run)

    async def create_job(self, _: str, body: Document) -> Document:
        name = body["metadata"]["name"]
        if name not in self.jobs:
            version = self._write("create", name.split("-", 2)[2])
            self.jobs[name] = body | {"metadata": body["metadata"] | {"uid": f"uid-{name}", "resourceVersion": version}}
        return self.jobs[name]

    async def delete_job(self, _: str, name: str, _uid: str, propagation: str) -> None:
        self._write("delete", f"{name.split('-', 2)[2]} {propagation}")

    async def delete_run(self, *_: str) -> None:
        self._write("delete", "run")

    async def create_event(self, _: str, body: Document) -> None:
        self._write("event", body["reason"])
        self.events.append(body)


def merged(old: Document, patch: Document) -> Document:
    """RFC 7386."""
    result = dict(old)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


class Bench:
    """A reconciler, its cache and its API server; whatever is written is watched at once."""

    def __init__(self, status: Document | None = None, *, kueue: bool = False, **spec: Any) -> None:
        metadata = {"namespace": "ns", "name": "r", "uid": builders.UID, "resourceVersion": "1", "generation": 1}
        self.api = Api({"metadata": metadata, "spec": builders.spec(**spec), "status": status or {}})
        self.cache = Cache()
        self.cache.put("runs", self.api.run)
        self.now: datetime = builders.NOW
        cluster: KubeClient = self.api  # type: ignore[assignment]
        settings = Settings(images=dict.fromkeys(Stage, "i"), kueue=kueue)
        self.reconciler = Reconciler(cluster, self.cache, settings, lambda: self.now)

    def reconcile(self) -> float | None:
        """One pass; returns the seconds until the next one."""
        return asyncio.run(self.reconciler.reconcile(("ns", "r")))

    def edit(self, **spec: Any) -> None:
        """Somebody edits the spec."""
        self.api.version += 1
        metadata = self.api.run["metadata"]
        metadata |= {"resourceVersion": str(self.api.version), "generation": metadata["generation"] + 1}
        self.api.run["spec"] = {**self.api.run["spec"], **spec}
        self.cache.put("runs", copy.deepcopy(self.api.run))

    def suspend_job(self) -> None:
        """A queue suspends the newest Job, which has no pod."""
        name, body = list(self.api.jobs.items())[-1]
        self.api.version += 1
        metadata = body["metadata"] | {"resourceVersion": str(self.api.version)}
        self.api.jobs[name] = body | {"metadata": metadata, "spec": body["spec"] | {"suspend": True}}
        self.cache.put("jobs", self.api.jobs[name])

    def end_job(self, *, pod: bool = True, exit_code: int = 0) -> None:
        """The newest Job ends; its pod's end is watched, or can only be read."""
        name, body = list(self.api.jobs.items())[-1]
        self.api.version += 1
        metadata = body["metadata"] | {"resourceVersion": str(self.api.version)}
        condition = {"type": "Failed" if exit_code else "Complete", "status": "True"}
        self.api.jobs[name] = body | {"metadata": metadata, "status": {"conditions": [condition]}}
        self.cache.put("jobs", self.api.jobs[name])
        step = self.status["currentStep"]
        report = builders.report(Stage(step["stage"]), step.get("iteration", 0))
        ended = {
            "exitCode": exit_code,
            "startedAt": "2026-01-01T12:00:00Z",
            "finishedAt": "2026-01-01T12:01:00Z",
            "message": "" if exit_code else report.to_termination_message(),
        }
        owner = {"uid": metadata["uid"], "name": name, "controller": True}
        pod_metadata: Document = {"namespace": "ns", "name": f"{name}-x", "uid": f"pod-{name}", "resourceVersion": "1"}
        pod_metadata |= {"labels": metadata["labels"], "ownerReferences": [owner]}
        state: Document = {
            "containerStatuses": [{"name": "step", "state": {"terminated": ended}}],
            "phase": "Succeeded",
        }
        self.api.pods = [{"metadata": pod_metadata, "status": state}]
        if pod:
            self.cache.put("pods", self.api.pods[0])

    def written(self) -> list[str]:
        """What was written since the last call."""
        found, self.api.writes = self.api.writes, []
        return found

    @property
    def status(self) -> Document:
        """The status as the API server has it."""
        found: Document = self.api.run["status"]
        return found

    def progressing(self) -> tuple[str, str, str]:
        """Value, reason and message of the condition Progressing."""
        [told] = [condition for condition in self.status["conditions"] if condition["type"] == "Progressing"]
        return told["status"], told["reason"], told.get("message", "")

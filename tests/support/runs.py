"""AugmentationRuns of a cluster that has no node of its own: created, read and waited for as administrator."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from llm2llm.api.run import API_VERSION, GROUP, KIND, PLURAL, VERSION
from tests.cluster.controlplane import Cluster, RequestError
from tests.support import builders

MERGE_PATCH = "application/merge-patch+json"
Document = dict[str, Any]
LIMIT = 180.0
"""Seconds: ends a wait that hangs, on a slow and busy machine, too; it says nothing about how long anything may take."""


class Runs:
    """The runs of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"

    def create(self, name: str, **spec: Any) -> Document:
        """Creates a small run of two iterations; `spec` replaces top-level fields."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": builders.spec(**spec),
        }
        return dict(self.cluster.request("POST", self._path, body))

    def get(self, name: str) -> Document:
        """The run as the API server has it."""
        return dict(self.cluster.request("GET", f"{self._path}/{name}"))

    def all(self) -> list[Document]:
        """All runs of the namespace."""
        return list(self.cluster.request("GET", self._path)["items"])

    def patch(self, name: str, **spec: Any) -> None:
        """Changes fields of its spec."""
        self.cluster.request("PATCH", f"{self._path}/{name}", {"spec": spec}, content_type=MERGE_PATCH)

    def touch(self, name: str) -> None:
        """Changes an annotation, so that the operator looks at the run now and not when it would have."""
        body = {"metadata": {"annotations": {"touched": str(time.monotonic())}}}
        self.cluster.request("PATCH", f"{self._path}/{name}", body, content_type=MERGE_PATCH)

    def edit_status(self, name: str, status: Document) -> None:
        """What a person does with `kubectl edit --subresource=status`, as a merge patch."""
        self.cluster.request("PATCH", f"{self._path}/{name}/status", {"status": status}, content_type=MERGE_PATCH)

    def delete(self, name: str) -> None:
        """Deletes it, and does not wait for its children to go."""
        self.cluster.request("DELETE", f"{self._path}/{name}")

    def status(self, name: str) -> Document:
        """Its status, empty where it has none yet."""
        return dict(self.get(name).get("status") or {})

    def wait(self, name: str, done: Callable[[Document], bool], *, timeout: float = LIMIT) -> Document:
        """Waits until `done(status)`; returns the status.

        Raises:
            TimeoutError: with the last status.
        """
        deadline = time.monotonic() + timeout
        while True:
            status = self.status(name)
            if done(status):
                return status
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.namespace}/{name} after {timeout:.0f} s: {json.dumps(status, indent=1)}")
            time.sleep(0.2)

    def wait_for_end(self, name: str, *, timeout: float = LIMIT) -> Document:
        """Waits until it succeeded or failed."""
        return self.wait(name, lambda status: status.get("phase") in ("Succeeded", "Failed"), timeout=timeout)

    def wait_until_gone(self, name: str, *, timeout: float = LIMIT) -> None:
        """Waits until somebody deleted it. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(RequestError):
            while time.monotonic() < deadline:
                self.get(name)
                time.sleep(0.2)
            raise TimeoutError(f"{self.namespace}/{name} is still there after {timeout:.0f} s")

    def events(self, name: str) -> list[Document]:
        """Events on it, the oldest first."""
        query = f"?fieldSelector=involvedObject.name%3D{name}"
        page = self.cluster.request("GET", f"/api/v1/namespaces/{self.namespace}/events{query}")
        return sorted(page["items"], key=lambda event: event["metadata"]["creationTimestamp"])

    def jobs(self, name: str = "") -> list[Document]:
        """The Jobs with this run's label, or all."""
        query = f"?labelSelector={GROUP}%2Frun%3D{name}" if name else ""
        page = self.cluster.request("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs{query}")
        return list(page["items"])


def condition(status: Document, kind: str) -> Document:
    """A condition of a status, empty where it was never set."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})

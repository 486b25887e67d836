"""A cluster with one run, its Job, pod, Workload and Events, whose user has put keys where they do not belong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm2llm.errors import ConfigurationError
from llm2llm_cluster.client import NotFoundError

DENIED = ConfigurationError("the API server answered 403: it is forbidden")
PLACES = ("header", "password", "variable", "applied", "message", "bearer")
KEYS = {place: f"pl4nted-{place}-{'k3y' * 5}" for place in PLACES}
SPEC = {
    "generate": {
        "teacher": {
            "baseUrl": f"https://me:{KEYS['password']}@gateway/v1",
            "extraHeaders": {"x-gateway": KEYS["header"]},
            "apiKeySecretRef": {"name": "teacher", "key": "api-key"},
        }
    }
}
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
RUN: dict[str, Any] = {
    "metadata": {
        "name": "r",
        "uid": "u",
        "managedFields": [{}],
        "annotations": {APPLIED: json.dumps({"spec": {"env": [{"name": "A_TOKEN", "value": KEYS["applied"]}]}})},
    },
    "spec": SPEC,
    "status": {"message": f"the teacher says: {KEYS['header']} is no key"},
}
ENV = [
    {"name": "LLM2LLM_STEP", "value": json.dumps({"spec": SPEC})},
    {"name": "GATEWAY_KEY", "value": KEYS["variable"]},
]
TEMPLATE = {"spec": {"containers": [{"name": "step", "env": ENV}]}}
JOB = {"metadata": {"name": "r-train-1", "uid": "j", "managedFields": [{}]}, "spec": {"template": TEMPLATE}}
POD = {
    "metadata": {"name": "r-train-1-x", "uid": "p"},
    **TEMPLATE,
    "status": {
        "containerStatuses": [{"name": "step", "state": {"terminated": {"message": f"{KEYS['variable']} failed"}}}]
    },
}
WORKLOAD = {"metadata": {"name": "job-r-train-1", "uid": "w"}, "spec": {"podSets": [{"template": TEMPLATE}]}}
LOG = [
    f"the gateway refuses {KEYS['header']}",
    f"Authorization: Bearer {KEYS['bearer']}",
    f"GET https://me:{KEYS['message']}@h/",
]
OPERATOR = {
    "metadata": {"namespace": "llm2llm-system", "name": "llm2llm", "labels": {"app.kubernetes.io/version": "0.1.0"}},
    "spec": {"template": {"spec": {"containers": [{"image": "example/operator:0.1.0"}]}}},
}


class ClusterObjects:
    """A cluster whose caller may not read `denied`."""

    def __init__(self, denied: str = "", *, kueue: bool = True, log: list[str] | None = None) -> None:
        self.denied, self.kueue, self.lines = denied, kueue, ["one", "two"] if log is None else log

    def _check(self, what: str) -> None:
        if what == self.denied:
            raise DENIED

    def get(self, name: str) -> dict[str, Any]:
        self._check("augmentationruns")
        assert name == "r"
        return RUN

    def pods(self, selector: str) -> list[dict[str, Any]]:
        self._check("pods")
        assert selector == "llm2llm.dev/run=r"
        return [POD]

    def events_about(self, name: str) -> list[dict[str, Any]]:
        self._check("events")
        known = {"r": "it began", "r-train-1": f"its pod says {KEYS['variable']}"}
        about = {"name": name}
        return [{"metadata": {"name": "e"}, "involvedObject": about, "message": known[name]}] if name in known else []

    def objects(self, _: str, version: str, plural: str, selector: str) -> list[dict[str, Any]]:
        self._check(plural)
        if plural == "jobs":
            return [JOB]
        if not self.kueue or version != "v1beta1":
            raise NotFoundError("404 page not found")
        assert selector == "kueue.x-k8s.io/job-uid in (j)"
        return [WORKLOAD]

    def objects_everywhere(self, _: str, __: str, plural: str, ___: str) -> list[dict[str, Any]]:
        self._check(plural)
        return [OPERATOR]

    def log(self, pod: str, *, follow: bool, tail: int | None = None) -> Iterator[str]:
        self._check("log")
        assert (pod, follow, bool(tail)) == ("r-train-1-x", False, True)
        yield from self.lines

    def server_version(self) -> str:
        self._check("version")
        return "v1.34.0"

"""Reads what a cluster knows of a run, for a support archive: its objects, its Events, and the logs of its pods.

No Secret is read. What the caller may not read is named, and the rest is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llm2llm.errors import StepError
from llm2llm.results.bundle import LOG_LINES, Bundle, tail_of
from llm2llm_cluster.client import CONTAINER, NotFoundError
from llm2llm_operator.constants import KUEUE, LABEL_JOB_UID, LABEL_RUN

_OPERATOR = "app.kubernetes.io/name=llm2llm-operator"
_KUEUE_VERSIONS = ("v1beta2", "v1beta1")

Objects = list[dict[str, Any]]


class Source(Protocol):
    """A cluster, as far as it is collected from (client.Cluster)."""

    def get(self, name: str) -> dict[str, Any]:
        """Returns a run."""

    def pods(self, selector: str) -> Objects:
        """Returns pods."""

    def events_about(self, name: str) -> Objects:
        """Returns Events."""

    def objects(self, group: str, version: str, plural: str, selector: str) -> Objects:
        """Returns other objects of the namespace."""

    def objects_everywhere(self, group: str, version: str, plural: str, selector: str) -> Objects:
        """Returns other objects of the cluster."""

    def log(self, pod: str, *, follow: bool, tail: int | None = None) -> Any:
        """Yields lines of a log."""

    def server_version(self) -> str:
        """Returns the version of the API server."""


def collect_run(cluster: Source, name: str) -> Bundle:
    """Returns what the cluster knows of a run.

    Raises:
        ConfigurationError: there is no such run, or it may not be read.
        StepError: the API server cannot be asked.
    """
    bundle = Bundle(name)
    run = cluster.get(name)
    selector = f"{LABEL_RUN}={name}"
    jobs = _read(bundle, "Jobs", lambda: cluster.objects("batch", "v1", "jobs", selector))
    pods = _read(bundle, "Pods", lambda: cluster.pods(selector))
    workloads = _read(bundle, "Workloads", lambda: _workloads(cluster, jobs)) if jobs else []
    names = [str(each["metadata"]["name"]) for each in (run, *jobs, *pods, *workloads)]
    events = _read(bundle, "Events", lambda: [event for each in names for event in cluster.events_about(each)])
    versions = {
        "kubernetes": _read(bundle, "version of Kubernetes", lambda: [cluster.server_version()]),
        "operators": _read(bundle, "version of the operator", lambda: _operators(cluster)),
    }
    bundle.documents["run.yaml"] = _without_managed_fields(run)
    for path, objects in (("jobs", jobs), ("pods", pods), ("workloads", workloads), ("events", events)):
        if objects:
            bundle.documents[f"{path}.yaml"] = [_without_managed_fields(each) for each in objects]
    bundle.documents["versions.yaml"] = versions
    for pod in pods:
        _read_log(bundle, cluster, pod)
    return bundle


def _read(bundle: Bundle, what: str, read: Callable[[], list[Any]]) -> list[Any]:
    """Returns what can be read; notes why it cannot."""
    try:
        return read()
    except StepError as error:
        bundle.unread[what] = error.message
        return []


def _workloads(cluster: Source, jobs: Objects) -> Objects:
    """Returns the Workloads of these Jobs; none where Kueue is not installed."""
    selector = f"{LABEL_JOB_UID} in ({','.join(str(job['metadata']['uid']) for job in jobs)})"
    for version in _KUEUE_VERSIONS:
        try:
            return cluster.objects(KUEUE, version, "workloads", selector)
        except NotFoundError:
            continue
    return []


def _operators(cluster: Source) -> list[dict[str, Any]]:
    """Returns each operator of the cluster, with its version and its image."""
    found = []
    for deployment in cluster.objects_everywhere("apps", "v1", "deployments", _OPERATOR):
        metadata = deployment["metadata"]
        containers = deployment["spec"]["template"]["spec"]["containers"]
        found.append(
            {
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "version": (metadata.get("labels") or {}).get("app.kubernetes.io/version", ""),
                "images": [container["image"] for container in containers],
            }
        )
    return found


def _read_log(bundle: Bundle, cluster: Source, pod: Mapping[str, Any]) -> None:
    """Reads the end of a pod's log, if its container has begun."""
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    begun = any(each.get("name") == CONTAINER and "waiting" not in (each.get("state") or {}) for each in states)
    name = str(pod["metadata"]["name"])
    if begun:
        lines = _read(bundle, f"log of {name}", lambda: list(cluster.log(name, follow=False, tail=LOG_LINES)))
        if lines:
            bundle.texts[f"logs/{name}.log"] = tail_of("\n".join(lines))


def _without_managed_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "metadata": metadata}

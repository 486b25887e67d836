"""The client of runs on a cluster, for notebooks and scripts (`llm2llm.client.connect()`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.client.manifest import document_of
from llm2llm.client.runs import HELD, IterationResult, Manifest, Run
from llm2llm.errors import ConfigurationError
from llm2llm.loop.outcomes import iteration_label
from llm2llm.manifests.documents import validate_run
from llm2llm.records import Metric
from llm2llm_cluster.client import Cluster, pod_of_step
from llm2llm_cluster.words import is_seen

POLL_SECONDS = 5.0


class ClusterClient:
    """Runs of one namespace of a cluster, by the caller's kubeconfig."""

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        """Connects to a cluster.

        Args:
            context: of the kubeconfig; its current one if None.
            namespace: the context's if None.

        Raises:
            ConfigurationError: there is no usable kubeconfig.
        """
        self._cluster = Cluster(context, namespace)

    @property
    def namespace(self) -> str:
        """The namespace of the runs."""
        return self._cluster.namespace

    def create(self, manifest: Manifest) -> Run:
        """Creates a run, after it has been checked as `llm2llm validate` does, and returns it.

        Raises:
            InvalidManifest: it is not valid.
            ConfigurationError: it names another namespace, it exists, or the API server refuses it.
        """
        document = document_of(manifest)
        metadata = document.get("metadata") or {}
        if metadata.get("namespace") not in (None, self.namespace):
            raise ConfigurationError(
                f"the manifest names namespace {metadata['namespace']}, and this client is for {self.namespace}: "
                "connect(namespace=...)"
            )
        validate_run(document)
        return run_of(self._cluster.create(document))

    def list(self) -> Sequence[Run]:
        """Returns all runs of the namespace, by name."""
        return [run_of(run) for run in self._cluster.runs()]

    def get(self, name: str) -> Run:
        """Returns a run.

        Raises:
            ConfigurationError: there is none of this name.
        """
        return run_of(self._cluster.get(name))

    def get_logs(
        self, name: str, *, stage: str | None = None, iteration: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Yields the lines of the log of a run's newest pod, or of a step's newest.

        Raises:
            ConfigurationError: there is no such pod; the message says where the logs of ended steps are.
        """
        pod = pod_of_step(self._cluster, self._cluster.get(name), stage, iteration)
        yield from self._cluster.log(pod["metadata"]["name"], follow=follow)

    def wait(self, name: str, *, timeout: float | None = None) -> Run:
        """Waits until a run has ended or is held, and returns it.

        Raises:
            TimeoutError: it goes on after so many seconds.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        while True:
            document = self._cluster.get(name)
            run = run_of(document)
            if (run.ended or run.phase == HELD) and is_seen(document):
                return run
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{name} is {run.phase} after {timeout:.0f} s: {run.message}")
            time.sleep(POLL_SECONDS if deadline is None else min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))

    def delete(self, name: str) -> None:
        """Deletes a run; its pod stops, and its artifacts stay.

        Raises:
            ConfigurationError: there is none of this name.
        """
        self._cluster.delete(name)


def run_of(document: Mapping[str, Any]) -> Run:
    """Returns a run from its object; one that the operator has not seen yet is Pending."""
    metadata, status = document["metadata"], document.get("status") or {}
    spec = AugmentationRunSpec.model_validate(document.get("spec") or {})
    best = status.get("best") or {}
    return Run(
        name=str(metadata["name"]),
        namespace=str(metadata.get("namespace", "")),
        spec=spec,
        phase=str(status.get("phase") or "Pending"),
        message=str(status.get("message") or ""),
        iterations=[_iteration(row, spec.objective.metric) for row in status.get("iterations") or ()],
        best=best.get("iteration"),
        model_uri=str(best.get("modelUri") or ""),
        digest=str(best.get("digest") or ""),
        artifacts=str(status.get("artifactsUri") or ""),
    )


def _iteration(row: Mapping[str, Any], objective: str) -> IterationResult:
    metrics = [Metric.model_validate(metric) for metric in row.get("metrics") or ()]
    judged = {metric.dataset: metric for metric in metrics if metric.name == objective}
    index = int(row.get("index", 0))
    return IterationResult(
        index=index,
        name=iteration_label(index),
        train_rows=row.get("trainExamples"),
        metrics=metrics,
        judged=next((judged[dataset] for dataset in ("evaluation", "probe", "seed") if dataset in judged), None),
        mistakes=row.get("mistakes"),
        kept=row.get("kept"),
    )

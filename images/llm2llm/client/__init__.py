"""A client for notebooks and scripts: the same verbs for runs on a cluster and for those on this machine.

from llm2llm.client import connect

client = connect()                    # the cluster of your kubeconfig; connect(workdir="out") for this machine
client.create("run.yaml")
run = client.wait("tickets")
print(run.phase, [(row.name, row.score) for row in run.iterations], run.model_uri)
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from llm2llm.client.local import LocalClient
from llm2llm.client.runs import IterationResult, Run, RunClient
from llm2llm.errors import ConfigurationError


def connect(
    *,
    workdir: str | Path | None = None,
    secrets: Mapping[str, str] | None = None,
    context: str | None = None,
    namespace: str | None = None,
) -> RunClient:
    """Returns a client for runs on this machine, if a work folder is named, else for those on a cluster.

    Args:
        workdir: folder for the artifacts of runs on this machine.
        secrets: `NAME/KEY` of a Secret in the manifest to its value, for runs on this machine.
        context: of the kubeconfig, if not the current one.
        namespace: of the runs on a cluster, if not the context's.

    Raises:
        ConfigurationError: what this needs is not installed, there is no usable kubeconfig, or options of both kinds
            are given.
    """
    if workdir is not None:
        if context or namespace:
            raise ConfigurationError("workdir is for runs on this machine, context and namespace are for a cluster's")
        return LocalClient(Path(workdir), secrets or {})
    if secrets:
        raise ConfigurationError("secrets are for runs on this machine: a cluster has its own (kubectl create secret)")
    for entry_point in entry_points(group="llm2llm.clients"):
        try:
            client: RunClient = entry_point.load()(context, namespace)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f'this needs {error.name}, which is not installed: pip install "llm2llm-operator[cluster]"'
            ) from error
        return client
    raise ConfigurationError("llm2llm-operator is not installed as a package: pip install llm2llm-operator[cluster]")


__all__ = ["IterationResult", "LocalClient", "Run", "RunClient", "connect"]

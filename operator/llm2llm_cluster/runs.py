"""Finds the run on a cluster that a command names where it takes a run of any kind (entry point `llm2llm.runs`)."""

from __future__ import annotations

from typing import Any

from llm2llm_cluster.options import open_cluster


def find_run(target: str) -> dict[str, Any]:
    """Returns the AugmentationRun that is named by `NAME`, in the namespace of the kubeconfig, or by `NAMESPACE/NAME`.

    Raises:
        ModuleNotFoundError: the client library is not installed.
        ConfigurationError: there is no usable kubeconfig, or no such run.
        Transient: the API server cannot be asked.
    """
    namespace, _, name = target.rpartition("/")
    run: dict[str, Any] = open_cluster(None, namespace or None).get(name)
    return run

"""What the commands for runs on a cluster have in common on the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of an AugmentationRun.", show_default=False)]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", help="Namespace of the run; defaults to that of the context.", show_default=False
    ),
]
Context = Annotated[str | None, typer.Option(help="kubeconfig context to use.", show_default=False)]


def open_cluster(context: str | None, namespace: str | None) -> Any:
    """Returns the cluster of a context; its library is imported only here.

    Raises:
        ConfigurationError: there is no usable kubeconfig.
    """
    from llm2llm_cluster.client import Cluster

    return Cluster(context, namespace)

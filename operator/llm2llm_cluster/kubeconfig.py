"""Finds the API server and the namespace as kubectl does: by KUBECONFIG, ~/.kube/config, or a pod's service account."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.config import incluster_config
from kubernetes.config.config_exception import ConfigException

from llm2llm.errors import ConfigurationError

_NAMESPACE = "default"


def load(context: str | None, environ: Mapping[str, str]) -> tuple[client.Configuration, str]:
    """Returns how to reach the API server, and the namespace of the context.

    Of several files in KUBECONFIG the first that names something counts, as it does for kubectl; those that do not
    exist, or that are empty, say nothing.

    Args:
        context: of the kubeconfig; its current one if None.
        environ: of this process.

    Raises:
        ConfigurationError: there is no usable kubeconfig, and this is no pod with a service account.
    """
    configuration = client.Configuration()
    paths = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part] or ["~/.kube/config"]
    files = {str(path): content for path in (Path(part).expanduser() for part in paths) if (content := _read(path))}
    if not files and context is None and (namespace := _use_service_account(configuration)):
        return configuration, namespace
    where = ", ".join(files or paths)
    if not files:
        raise ConfigurationError(f"no cluster to ask: no kubeconfig at {where}: set KUBECONFIG")
    try:
        contexts = _contexts(files)
        name = context or next(filter(None, (content.get("current-context") for content in files.values())), None)
        if name not in contexts:
            missing = f"there is no context {name} in {where}" if name else f"{where} has no current-context"
            raise ConfigurationError(f"{missing}: name one with --context: {', '.join(contexts) or 'there is none'}")
        config.load_kube_config(os.pathsep.join(files), name, configuration)  # type: ignore[no-untyped-call]
        return configuration, str(contexts[name].get("namespace") or _NAMESPACE)
    except (ConfigException, LookupError, TypeError, AttributeError, ValueError, OSError) as error:
        raise ConfigurationError(f"no cluster to ask: {where} is not a usable kubeconfig: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    """Returns what a file has; nothing if there is none.

    Raises:
        ConfigurationError: it cannot be read, or is not a kubeconfig.
    """
    try:
        content = yaml.safe_load(path.read_bytes()) if path.exists() else None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"no cluster to ask: {path}{line} is no YAML: {error.problem}") from error
    except (yaml.YAMLError, OSError) as error:
        raise ConfigurationError(f"no cluster to ask: {path} cannot be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigurationError(f"no cluster to ask: {path} is not a kubeconfig")
    return content or {}


def _contexts(files: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns the contexts of all files by their names; the first of a name counts."""
    entries = [entry for content in files.values() for entry in content.get("contexts") or ()]
    return {entry["name"]: entry.get("context") or {} for entry in reversed(entries)}


def _use_service_account(configuration: client.Configuration) -> str:
    """Takes the service account of the pod that this runs in, if it does. Returns its namespace; '' if it does not."""
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        return ""
    file = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
    return (file.read_text().strip() if file.exists() else "") or _NAMESPACE

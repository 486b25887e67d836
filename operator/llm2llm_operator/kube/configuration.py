"""How this process reaches the API server."""

from __future__ import annotations

import functools
import inspect
import os
from typing import Any

import yaml
from kubernetes.aio import client, config

CONNECTIONS = 128
"""More than workers, so that the lease never waits for them."""


class NoAccess(Exception):
    """Nothing tells how to reach the API server; the message says where that was looked for."""


async def load_configuration() -> client.Configuration:
    """Returns how to reach the API server: as KUBECONFIG says, else with the pod's ServiceAccount, else as
    ~/.kube/config says.

    Raises:
        NoAccess: none of them says it.
    """
    configuration = client.Configuration()
    configuration.retries = None
    configuration.connection_pool_maxsize = CONNECTIONS
    # By default aiohttp looks for a .netrc before each request, in a thread: a third of the cost of a request.
    configuration.client_session_kwargs = {"trust_env": False}
    path = os.environ.get("KUBECONFIG", "")
    if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        where = "the pod's ServiceAccount; automountServiceAccountToken must not be false"
        load: Any = config.load_incluster_config
    else:
        where = f"KUBECONFIG={path}" if path else "~/.kube/config; set KUBECONFIG"
        load = functools.partial(config.load_kube_config, config_file=path or None)
    try:
        loading = load(client_configuration=configuration)
        if inspect.isawaitable(loading):
            await loading
    except (config.ConfigException, OSError, ValueError, TypeError, yaml.YAMLError) as error:  # TypeError: empty file
        words = " ".join(str(error).split())
        raise NoAccess(f"cannot tell how to reach the API server ({words}): looked at {where}") from error
    return configuration

"""Volumes for PersistentVolumeClaims: a stand-in for the provisioner of a storage class.

Each new claim gets a PersistentVolume that names it; the real binder in the controller manager binds the two. The data
of a claim is a folder of the node (see `podfolder`), which stays when the claim is deleted.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster.apiclient import ApiClient, ApiError

_log = logging.getLogger(__name__)
_CLAIMS = "/api/v1/persistentvolumeclaims"
_CONFLICT = 409


async def provision(api: ApiClient, folder: Path) -> None:
    """Creates a volume for every claim that has none, for ever."""
    while True:
        try:
            listed = await api.request("GET", _CLAIMS)
            for claim in listed["items"]:
                await _provide(api, claim, folder)
            async for event in api.watch(_CLAIMS, listed["metadata"]["resourceVersion"], {}):
                if event["type"] in ("ADDED", "MODIFIED"):
                    await _provide(api, event["object"], folder)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _log.info("the watch of claims ended: %s", error)
            await asyncio.sleep(0.5)


async def _provide(api: ApiClient, claim: dict[str, Any], folder: Path) -> None:
    meta, spec = claim["metadata"], claim["spec"]
    if spec.get("volumeName") or meta.get("deletionTimestamp"):
        return
    volume = {
        "metadata": {"name": f"claim-{meta['uid']}"},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": spec.get("storageClassName") or "",
            "hostPath": {"path": str(folder / "claims" / meta["namespace"] / meta["name"])},
            "claimRef": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
        },
    }
    try:
        await api.request("POST", "/api/v1/persistentvolumes", volume)
    except ApiError as error:
        if error.code != _CONFLICT:
            raise

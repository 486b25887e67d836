"""Runs at rest by the thousand: copies of a few that the operator itself brought to their end or to a hold.

Each copy has what the original has left: its status, and the Job and pod that rule C4 keeps for their log.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tests.cluster.apiclient import MERGE_PATCH, ApiClient

from llm2llm.api.run import API_VERSION, GROUP, KIND, PLURAL, VERSION

WRITERS = 48
RUNS = f"/apis/{GROUP}/{VERSION}"
Document = dict[str, Any]


@dataclass(frozen=True)
class Original:
    """A run at rest with the Jobs and pods that it has left."""

    run: Document
    jobs: list[Document]
    pods: list[Document]


async def read(api: ApiClient, namespace: str, name: str) -> Original:
    """A run of the cluster with what belongs to it."""
    run = await api.request("GET", f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}")
    mine = {"labelSelector": f"{GROUP}/run-uid={run['metadata']['uid']}"}
    jobs = await api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs", params=mine)
    pods = await api.request("GET", f"/api/v1/namespaces/{namespace}/pods", params=mine)
    return Original(run, jobs["items"], pods["items"])


async def copies(api: ApiClient, originals: list[Original], names: list[str], namespaces: list[str]) -> None:
    """Creates a copy for each name, in turn of each original and in turn in each namespace."""
    waiting = iter(enumerate(names))

    async def work() -> None:
        for number, name in waiting:
            await _copy(api, originals[number % len(originals)], name, namespaces[number % len(namespaces)])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(work())


async def _copy(api: ApiClient, original: Original, name: str, namespace: str) -> None:
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": original.run["spec"]}
    runs = f"{RUNS}/namespaces/{namespace}/{PLURAL}"
    run = await api.request("POST", runs, body)
    renamed = _renaming(original.run, run)
    status = {"status": renamed(original.run["status"])}
    await api.request("PATCH", f"{runs}/{name}/status", status, content_type=MERGE_PATCH)
    uids: dict[str, str] = {}
    for job in original.jobs:
        made = await _create(api, f"/apis/batch/v1/namespaces/{namespace}/jobs", renamed(job), {"selector"})
        uids[job["metadata"]["uid"]] = made["metadata"]["uid"]
    for pod in original.pods:
        owner = pod["metadata"]["ownerReferences"][0]
        owned = renamed(pod)
        owned["metadata"]["ownerReferences"] = [renamed(owner) | {"uid": uids[owner["uid"]]}]
        await _create(api, f"/api/v1/namespaces/{namespace}/pods", owned, set())


async def _create(api: ApiClient, folder: str, body: Document, dropped: set[str]) -> Document:
    """Creates an object as it was read, and gives it its status."""
    kept = {key: body["metadata"][key] for key in ("name", "labels", "ownerReferences")}
    spec = {key: value for key, value in body["spec"].items() if key not in dropped}
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    for label in [label for label in labels if "controller-uid" in label or "job-name" in label]:
        del labels[label]
    made: Document = await api.request("POST", folder, {"metadata": kept, "spec": spec})
    path = f"{folder}/{kept['name']}/status"
    await api.request("PATCH", path, {"status": body["status"]}, content_type=MERGE_PATCH)
    return made


def _renaming(old: Document, new: Document) -> Any:
    """A function that puts the new run's name, UID and hash in the place of the old one's."""
    pairs = [(old["metadata"][key], new["metadata"][key]) for key in ("uid", "name", "namespace")]
    hashes = [hashlib.sha256(run["metadata"]["uid"].encode()).hexdigest()[:8] for run in (old, new)]

    def renamed(document: Document) -> Document:
        text = json.dumps(copy.deepcopy(document))
        for before, after in [*pairs, (hashes[0], hashes[1])]:
            text = text.replace(before, after)
        return dict(json.loads(text))

    return renamed

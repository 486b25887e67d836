"""Ends Jobs at a steady rate, in place of the Job controller, the scheduler and every kubelet.

A Job of the operator gets one pod, which is Running at once; at its turn pod and Job end well, with the report that the
step would have told. Four writes a Job instead of the dozen of the real parts, which are then stopped: two cores hold
the operator, the API server and this, and it is the operator that is measured.

    python -m benchmarks.jobender --kubeconfig FILE --rate 40 --first 1000 --out FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from tests.cluster.apiclient import MERGE_PATCH, ApiClient, ApiError
from tests.support.podender import report_of, step_of

from llm2llm.podenv import CONTAINER
from llm2llm_operator.constants import LABEL_JOB_NAME, LABEL_RUN_UID

JOBS = "/apis/batch/v1/jobs"
OURS = {"labelSelector": LABEL_RUN_UID}
Document = dict[str, Any]


class JobEnder:
    """Ends `rate` Jobs a second, the oldest first, once `first` of them have been there.

    Attributes:
        ended: Jobs that it ended.
        starved: turns at which no Job was there to end: the rate was more than the runs could give.
        late: turns that came more than 50 ms late: this process was the bottleneck.
    """

    def __init__(self, api: ApiClient, *, rate: float, first: int) -> None:
        self.ended = 0
        self.starved = 0
        self.late = 0
        self._api = api
        self._rate = rate
        self._first = first
        self._known: dict[str, Document] = {}
        self._running: deque[Document] = deque()
        self._enough = asyncio.Event()

    async def run(self, out: Path) -> None:
        """Works until cancelled; `out` holds its counts, renewed every second."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._end_steadily())
            self._tasks.create_task(self._tell(out))
            while True:
                await self._follow()

    async def _follow(self) -> None:
        """Lists once, and watches from there for as long as the API server has the history."""
        listed = await self._api.request("GET", JOBS, params=OURS)
        for job in listed["items"]:
            self._take(job)
        version = listed["metadata"]["resourceVersion"]
        while True:
            try:
                async for event in self._api.watch(JOBS, version, OURS):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        self._drop(event["object"])
                    elif event["type"] == "ADDED":
                        self._take(event["object"])
            except ApiError:
                return
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)

    def _take(self, job: Document) -> None:
        uid = job["metadata"]["uid"]
        ended = any(c["type"] in ("Complete", "Failed") for c in job["status"].get("conditions", []))
        if uid in self._known or ended:
            return
        self._known[uid] = job
        self._tasks.create_task(self._begin(job))

    def _drop(self, job: Document) -> None:
        if self._known.pop(job["metadata"]["uid"], None) is not None:
            self._tasks.create_task(self._delete_pod(job))

    async def _begin(self, job: Document) -> None:
        pod = pod_of(job)
        folder = f"/api/v1/namespaces/{job['metadata']['namespace']}/pods"
        await self._api.request("POST", folder, pod)
        status = pod_status("Running", {"running": {"startedAt": now()}})
        await self._api.request("PATCH", f"{pod_path(job)}/status", {"status": status}, content_type=MERGE_PATCH)
        self._running.append(job)
        if len(self._running) >= self._first:
            self._enough.set()

    async def _end_steadily(self) -> None:
        await self._enough.wait()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += 1 / self._rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.late += loop.time() - due > 0.05
            if self._running:
                self._tasks.create_task(self._end(self._running.popleft()))
            else:
                self.starved += 1

    async def _end(self, job: Document) -> None:
        message = report_of(step_of(job["spec"]["template"])).to_termination_message()
        moment = now()
        state = {
            "terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "message": message,
                "finishedAt": moment,
                "startedAt": moment,
            }
        }
        status = pod_status("Succeeded", state)
        await self._api.request("PATCH", f"{pod_path(job)}/status", {"status": status}, content_type=MERGE_PATCH)
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": moment, "lastProbeTime": moment}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"startTime": moment, "completionTime": moment, "succeeded": 1, "conditions": conditions}
        await self._api.request("PATCH", f"{job_path(job)}/status", {"status": status}, content_type=MERGE_PATCH)
        self.ended += 1

    async def _delete_pod(self, job: Document) -> None:
        try:
            await self._api.request("DELETE", pod_path(job), {"gracePeriodSeconds": 0})
        except ApiError as error:
            if error.code != 404:
                raise

    async def _tell(self, out: Path) -> None:
        while True:
            counts = {"ended": self.ended, "starved": self.starved, "late": self.late}
            counts |= {"running": len(self._running), "began": int(self._enough.is_set())}
            out.with_suffix(".new").write_text(json.dumps(counts))
            out.with_suffix(".new").replace(out)
            await asyncio.sleep(1)


def pod_of(job: Document) -> Document:
    """The pod that the Job controller would have made and the scheduler have bound."""
    metadata, template = job["metadata"], job["spec"]["template"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    labels = template["metadata"]["labels"] | {LABEL_JOB_NAME: metadata["name"]}
    return {
        "metadata": {"name": f"{metadata['name']}-pod", "labels": labels, "ownerReferences": [owner]},
        "spec": template["spec"] | {"nodeName": "nowhere"},
    }


def pod_status(phase: str, state: Document) -> Document:
    """What a kubelet tells of the pod's one container."""
    container = {"name": CONTAINER, "image": "-", "imageID": "", "restartCount": 0, "ready": False, "state": state}
    return {"phase": phase, "containerStatuses": [container]}


def job_path(job: Document) -> str:
    """Path of a Job."""
    return f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs/{job['metadata']['name']}"


def pod_path(job: Document) -> str:
    """Path of the Job's pod."""
    return f"/api/v1/namespaces/{job['metadata']['namespace']}/pods/{job['metadata']['name']}-pod"


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _main(options: argparse.Namespace) -> None:
    async with ApiClient(options.kubeconfig) as api:
        await JobEnder(api, rate=options.rate, first=options.first).run(options.out)


def main() -> None:
    """Ends Jobs until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True, help="Jobs a second")
    parser.add_argument("--first", type=int, required=True, help="begins once so many Jobs are there")
    parser.add_argument("--out", type=Path, required=True)
    uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()

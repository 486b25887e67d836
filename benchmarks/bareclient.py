"""What the operator's first Job is compared with: an asyncio client that watches runs and creates a Job for each.

No cache, no status, no pacing, no second look: a watch, and one POST as soon as a run is there. The Job is the very one
that the operator creates, but for its name and the labels by which the operator would see it.

    python -m benchmarks.bareclient --kubeconfig FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import uvloop
from tests.cluster.apiclient import ApiClient
from tests.support.install import IMAGES

from llm2llm.api.run import GROUP, PLURAL, VERSION, AugmentationRunSpec
from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage
from llm2llm_operator.build.job import job_manifest, job_name
from llm2llm_operator.model.run import Run
from llm2llm_operator.model.status import CurrentStep

RUNS = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
PREFIX = "bare-"


def manifest_of(body: dict[str, Any]) -> dict[str, Any]:
    """The Job of Prepare, under another name, with a label that nobody looks for.

    Without any label it would get those of its pods (Kubernetes, defaults of Jobs), and the operator would take it for
    one of the run's own.
    """
    run = Run.from_object(body)
    step = CurrentStep(stage="Prepare", job_name=job_name(run.name, run.uid, StepId(Stage.PREPARE), 0))
    images = {name.removeprefix("LLM2LLM_IMAGE_").lower(): image for name, image in IMAGES.items()}
    job = job_manifest(run, AugmentationRunSpec.model_validate(run.spec), step, {}, images)
    job["metadata"]["name"] = PREFIX + job["metadata"]["name"]
    job["metadata"]["labels"] = {"benchmark": "bare"}
    return job


async def serve(kubeconfig: Path) -> None:
    """Creates a Job for every run that appears, until cancelled."""
    async with ApiClient(kubeconfig) as api, asyncio.TaskGroup() as tasks:
        version = (await api.request("GET", RUNS, params={"limit": "1"}))["metadata"]["resourceVersion"]
        print(json.dumps({"watching": RUNS}), flush=True)
        while True:
            async for event in api.watch(RUNS, version, {}):
                body = event["object"]
                version = body["metadata"]["resourceVersion"]
                if event["type"] == "ADDED":
                    path = f"/apis/batch/v1/namespaces/{body['metadata']['namespace']}/jobs"
                    tasks.create_task(api.request("POST", path, manifest_of(body)))


def main() -> None:
    """Works until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    uvloop.run(serve(parser.parse_args().kubeconfig))


if __name__ == "__main__":
    main()

"""A run that goes on after its end, and one that is deleted and applied again: nothing is done or paid twice."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.install import OperatorProcess
from tests.support.platform import BUCKET, Platform

from llm2llm.loop.stages import step_folder
from llm2llm.records import Stage


def with_test_set(platform: Platform) -> dict[str, Any]:
    """The example with a test set, under a fixed key."""
    document = platform.manifest(maxIterations=1)
    document["spec"]["data"]["test"] = {"uri": f"s3://{BUCKET}/keyword/others.jsonl"}
    document["spec"]["artifacts"]["key"] = "fixed"
    return document


def trained_by(platform: Platform, team: str, iteration: int) -> set[str]:
    """UIDs of the pods that wrote something for a training."""
    prefix = f"runs/{team}/fixed/{step_folder(Stage.TRAIN, iteration)}/data/"
    listed = platform.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return {entry["Key"].removeprefix(prefix).split("/")[0] for entry in listed["Contents"]}


@pytest.mark.turns("e2e: runs that go on")
def test_fault_49_a_run_goes_on_after_its_end_and_applied_again_it_repeats_and_pays_nothing(
    platform: Platform, operator: OperatorProcess, team: str
):
    document = with_test_set(platform)
    platform.apply(team, document)
    first = platform.wait_for_end(team)
    assert first["phase"] == "Succeeded", first
    assert (first["test"]["examples"], first["test"]["timesScored"]) == (200, 1)

    document["spec"]["maxIterations"] = 2
    platform.apply(team, document)
    longer = platform.wait(
        team, "keyword", lambda s: len(s.get("iterations", [])) == 2 and s["phase"] in ("Succeeded", "Failed")
    )
    assert longer["phase"] == "Succeeded", longer
    assert longer["iterations"][1]["trainExamples"] == 240 + longer["iterations"][0]["kept"]
    asked = platform.teacher.stats()["requests"]

    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword", "--wait=true", "--timeout=180s")
    platform.apply(team, document)
    again = platform.wait_for_end(team)
    assert again["phase"] == "Succeeded", again
    assert platform.teacher.stats()["requests"] == asked
    assert [len(trained_by(platform, team, iteration)) for iteration in (0, 1)] == [1, 1]
    assert again["best"] == longer["best"]
    assert again["test"]["value"] == longer["test"]["value"]

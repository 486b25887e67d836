from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.fixtures import RunningCluster
from tests.support.install import OperatorProcess, install
from tests.support.platform import BUCKET, Platform
from tests.support.rights import OPERATOR_USER
from tests.support.teacher import Teacher

_names = itertools.count(1)


EVALUATION_ROWS = 200
QUICK = {"numTrainEpochs": 4}
"""A quarter of the example's: enough to be right and wrong."""


class QuickPlatform(Platform):
    """The platform with smaller runs: how well a student learns is shown by the demo and by benchmarks/keyword.py."""

    def upload_example(self, folder: Path, seed: int = 0) -> None:
        """Uploads a tenth of the evaluation rows, too, and another tenth for a test set."""
        super().upload_example(folder, seed)
        rows = (folder / "evaluation.jsonl").read_bytes().splitlines(keepends=True)
        for name, chosen in (("few", rows[::10]), ("others", rows[1::10])):
            self.client().put_object(Bucket=BUCKET, Key=f"keyword/{name}.jsonl", Body=b"".join(chosen))

    def manifest(self, name: str = "keyword", **spec: Any) -> dict[str, Any]:
        """The example's run, evaluated on a tenth of its rows and trained for a quarter of its epochs."""
        document = super().manifest(name, **spec)
        document["spec"]["data"]["evaluation"]["uri"] = f"s3://{BUCKET}/keyword/few.jsonl"
        document["spec"]["train"]["hyperparameters"] |= QUICK
        return document


@pytest.fixture(scope="session")
def platform(cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The cluster with the chart, the example's data in S3 and its teacher."""
    install(cluster.api)
    with Teacher(tmp_path_factory.mktemp("teacher")) as teacher:
        ready = QuickPlatform(cluster.api, cluster.s3, teacher)
        ready.upload_example(tmp_path_factory.mktemp("keyword"))
        ready.warm_up()
        yield ready


@pytest.fixture
def operator(cluster: RunningCluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator under the chart's ServiceAccount, ended after the test."""
    with OperatorProcess(cluster.api, tmp_path / "operator") as process:
        yield process


@pytest.fixture
def team(platform: Platform) -> str:
    """A namespace that enforces `restricted` and has the Secrets that run.yaml names."""
    name = f"team-{next(_names)}"
    platform.prepare_namespace(name)
    return name


def job_names(writes: list[dict[str, str]]) -> list[str]:
    """Jobs that were created, without the run's own prefix."""
    created = [w for w in writes if (w["verb"], w["resource"]) == ("create", "jobs") and w["code"] == "201"]
    return sorted(write["name"].split("-", 2)[2] for write in created)


def outcome(status: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when the operator died: everything but times, UIDs and addresses."""
    return {
        "phase": status["phase"],
        "inputs": status["inputsDigest"],
        "iterations": [
            {
                "index": row["index"],
                "mistakes": row["mistakes"],
                "kept": row.get("kept", 0),
                "metrics": row["metrics"],
                "steps": [(step["stage"], step["attempt"], step["outcome"], step["digest"]) for step in row["steps"]],
            }
            for row in status["iterations"]
        ],
        "best": (status["best"]["iteration"], status["best"]["digest"]),
        "usage": status["usage"],
    }


@dataclass(frozen=True)
class CalmRun:
    """A run of two iterations under an operator that lives.

    Attributes:
        writes: what the operator had written when it ended.
        later: the same a while later.
    """

    namespace: str
    status: dict[str, Any]
    writes: list[dict[str, str]]
    later: list[dict[str, str]]


@pytest.fixture(scope="session")
def calm(cluster: RunningCluster, platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> CalmRun:
    """The run that others are compared with."""
    platform.prepare_namespace("calm")
    with OperatorProcess(cluster.api, tmp_path_factory.mktemp("calm")):
        platform.apply("calm", platform.manifest(maxIterations=2))
        status = platform.wait_for_end("calm")
        writes = platform.writes(OPERATOR_USER, "calm")
        time.sleep(8)  # past the first lists anew; benchmarks/first_run.py watches a whole minute
        return CalmRun("calm", status, writes, platform.writes(OPERATOR_USER, "calm"))


@pytest.fixture(scope="session")
def undisturbed(calm: CalmRun) -> dict[str, Any]:
    """Its outcome."""
    return outcome(calm.status)

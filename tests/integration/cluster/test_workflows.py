"""The workflows that build and publish, as far as they can be checked without running them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.cluster import binaries

CHECKOUT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yaml"))
IMAGES = {path.parent.name for path in (CHECKOUT / "images").glob("*/Dockerfile")}


@pytest.fixture(scope="module")
def actionlint() -> Path:
    return binaries.actionlint()


def test_actionlint_finds_nothing(actionlint: Path):
    assert [path.name for path in WORKFLOWS] == ["ci.yaml", "release.yaml"]
    command = [str(actionlint), "-no-color", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_image_is_built_and_no_job_may_more_than_it_says(path: Path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["jobs"]["images"]["strategy"]["matrix"]["image"]) == IMAGES
    for job in workflow["jobs"].values():  # a number, or an expression that has those of a schedule and of a push
        limits = [int(word) for word in str(job["timeout-minutes"]).split() if word.isdigit()]
        assert limits
        assert max(limits) <= 300

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.platform import Platform
from tests.support.withoutcluster import run_without_a_cluster


def test_the_same_manifest_without_a_cluster_gives_the_same_digests(
    platform: Platform, undisturbed: dict[str, Any], tmp_path: Path
):
    in_cluster = {
        (stage, row["index"]): digest for row in undisturbed["iterations"] for stage, _, _, digest in row["steps"]
    }
    without = run_without_a_cluster(platform, platform.manifest(maxIterations=2), tmp_path)
    assert without == in_cluster | {("Prepare", 0): undisturbed["inputs"]}

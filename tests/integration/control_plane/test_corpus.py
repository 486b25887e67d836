"""The API server takes and refuses what `llm2llm validate` does; its side is tests/unit/manifests/test_corpus.py.

Through kubectl, because that is what reads a user's YAML: two calls for all files, each a dry run on the server.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.support import corpus

NAMESPACE = "t"
"""As in the manifests that name one."""


class Answers:
    """What `kubectl apply --dry-run=server` said of each file of these folders."""

    def __init__(self, cluster: Cluster, *folders: Path) -> None:
        command = [
            str(binaries.kubectl()),
            f"--kubeconfig={cluster.kubeconfig}",
            "apply",
            "--dry-run=server",
            "-n",
            NAMESPACE,
        ]
        done = subprocess.run(
            [*command, *(f"-f={folder}" for folder in folders)], capture_output=True, text=True, check=False
        )
        self.taken = set(re.findall(r"^augmentationrun\.llm2llm\.dev/(\S+) created", done.stdout, re.MULTILINE))
        self.output = done.stdout + done.stderr
        self._errors = re.split(r"^(?=Error from server|error |resource mapping)", done.stderr, flags=re.MULTILINE)

    def error_about(self, file: Path) -> str:
        """The error that names this file, empty where there is none."""
        return "".join(error for error in self._errors if f'/{file.name}"' in error)


def without_values(error: str) -> str:
    """The error as all versions say it: 1.34 names the type of what is wrong, newer ones quote it or leave it out."""
    return re.sub(r'(Invalid value): (?:"(?:[^"\\]|\\.)*"|null|-?[0-9.]+): ', r"\1: ", error)


@pytest.fixture(scope="module")
def namespace(api: Cluster) -> None:
    api.create_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def about_valid(api: Cluster, namespace: None) -> Answers:
    return Answers(api, corpus.FOLDER / "valid", corpus.EXAMPLES)


@pytest.fixture(scope="module")
def about_invalid(api: Cluster, namespace: None) -> Answers:
    return Answers(api, corpus.FOLDER / "invalid")


@pytest.mark.parametrize("file", corpus.valid(), ids=lambda file: file.stem)
def test_a_valid_manifest_is_taken(about_valid: Answers, file: Path):
    name = yaml.safe_load(file.read_text())["metadata"]["name"]
    assert name in about_valid.taken, about_valid.output


@pytest.mark.parametrize("case", corpus.invalid(), ids=lambda case: case.file.stem)
def test_an_invalid_manifest_is_refused_and_says_where(about_invalid: Answers, case: corpus.Invalid):
    assert without_values(case.api) in without_values(about_invalid.error_about(case.file)), about_invalid.output

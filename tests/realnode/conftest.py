from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.cluster.s3 import S3Server
from tests.realnode import images
from tests.realnode.node import ADDRESS, RealNode, machine, make_network
from tests.support.install import CHART, RELEASE, SYSTEM, helm
from tests.support.platform import Platform
from tests.support.teacher import Teacher

if "LLM2LLM_REALNODE" not in os.environ:  # `python -m tests.realnode` makes what these tests run in
    collect_ignore_glob = ["test_*.py"]

_names = itertools.count(1)


@dataclass(frozen=True)
class Installed:
    """The chart, packed and installed by helm on a real node, and what a run needs.

    Attributes:
        packed: the chart's archive.
        without_rights: from when to when the chart was uninstalled: helm removes the operator's Role before its pods get
            to know that they are to end.
    """

    cluster: Cluster
    node: RealNode
    platform: Platform
    packed: Path
    without_rights: list[tuple[datetime, datetime]] = field(default_factory=list)

    def helm(self, *arguments: str) -> str:
        """Runs helm as administrator in the operator's namespace."""
        try:
            return helm(self.cluster, *arguments)
        except RuntimeError as error:
            error.add_note(self.cluster.kubectl("-n", SYSTEM, "describe", "pods", check=False)[-6000:])
            raise

    def install(self, *settings: str) -> str:
        """`helm upgrade --install --wait` with the images that were built."""
        values = [f"image.registry={images.REGISTRY}", f"image.tag={images.TAG}", "images.evaluate.repository=trainer"]
        chosen = [part for setting in (*values, *settings) for part in ("--set", setting)]
        options = ["--wait", "--timeout", "120s", "--create-namespace"]
        return self.helm("upgrade", "--install", RELEASE, str(self.packed), *options, *chosen)

    @contextmanager
    def uninstalled(self) -> Iterator[None]:
        """Uninstalls the chart, waits until its pods are gone, and installs it again at the end."""
        began = datetime.now(UTC)
        self.helm("uninstall", RELEASE)
        self.cluster.kubectl("-n", SYSTEM, "wait", "--for=delete", "pods", "--all", "--timeout=60s")
        yield
        self.without_rights.append((began, datetime.now(UTC)))
        self.install()

    def operators(self) -> list[dict[str, Any]]:
        """The operator's pods, as the API server has them."""
        listed = self.cluster.request("GET", f"/api/v1/namespaces/{SYSTEM}/pods")
        return list(listed["items"])

    def team(self) -> str:
        """A new namespace that enforces `restricted`, with the Secrets that the example names."""
        name = f"team-{next(_names)}"
        self.platform.prepare_namespace(name)
        return name


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, RealNode]]:
    """A control plane and a node with a real kubelet, which has the images."""
    make_network()
    with machine(images.folder() / "state") as (cluster, node):
        node.load(*(images.reference(image) for image in images.names()))
        yield cluster, node


@pytest.fixture(scope="session")
def installed(real: tuple[Cluster, RealNode], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The packed chart, installed with two replicas, beside S3 and the example's teacher."""
    cluster, node = real
    folder = tmp_path_factory.mktemp("chart")
    subprocess.run([str(binaries.helm()), "package", str(CHART), "--destination", str(folder)], check=True)
    [packed] = folder.glob("*.tgz")
    with S3Server(host=ADDRESS) as store, Teacher(tmp_path_factory.mktemp("teacher"), host=ADDRESS) as teacher:
        platform = Platform(cluster, store, teacher)
        platform.upload_example(tmp_path_factory.mktemp("keyword"))
        ready = Installed(cluster, node, platform, packed)
        ready.install()
        yield ready

"""How many CPUs a process may use, by the files of its control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm2llm.runtime.cpus import usable_cpus

NODE = 64


@pytest.fixture(autouse=True)
def _large_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(NODE)))


V1 = "9:name=systemd:/\n7:cpuset:/other\n2:cpu,cpuacct:/kubepods/pod1/c1\n"


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        pytest.param("0::/\n", {"cpu.max": "400000 100000"}, 4, id="a limit of 4 in a container"),
        pytest.param("0::/\n", {"cpu.max": "150000 100000"}, 2, id="1.5 is rounded up"),
        pytest.param("0::/\n", {"cpu.max": "5000 100000"}, 1, id="at least one"),
        pytest.param("0::/\n", {"cpu.max": "max 100000"}, NODE, id="no limit"),
        pytest.param("0::/\n", {"cpu.max": "9900000 100000"}, NODE, id="more than there are"),
        pytest.param("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2, id="around it"),
        pytest.param("0::/../a\n", {"cpu.max": "300000 100000"}, 3, id="a group beyond the mount"),
        pytest.param(
            V1, {"cpu/cpu.cfs_quota_us": "800000", "cpu/cpu.cfs_period_us": "100000"}, 8, id="version 1 in a container"
        ),
        pytest.param(
            V1,
            {
                "cpu/kubepods/pod1/cpu.cfs_quota_us": "50000",
                "cpu/kubepods/pod1/cpu.cfs_period_us": "25000",
                "cpu/kubepods/pod1/c1/cpu.cfs_quota_us": "-1",
                "cpu/kubepods/pod1/c1/cpu.cfs_period_us": "100000",
            },
            2,
            id="version 1 around it",
        ),
        pytest.param("0::/\n", {"cpu.max": "not a number"}, NODE, id="what is no quota"),
        pytest.param("0::/\n", {"cpu.max": "100000 0"}, NODE, id="no period"),
        pytest.param("", {}, NODE, id="no control groups"),
    ],
)
def test_fault_63_usable_cpus_are_those_of_the_smallest_quota(
    membership: str, files: dict[str, str], cpus: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "self").write_text(membership)
    assert usable_cpus(tmp_path / "cgroup", tmp_path / "self") == cpus


def test_fault_63_without_files_the_cpus_that_it_may_run_on_count(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path, tmp_path / "missing") == NODE


@pytest.mark.parametrize(("known", "cpus"), [(8, 8), (None, 1)])
def test_fault_63_where_a_process_cannot_be_bound_to_cpus_those_of_the_machine_count(
    known: int | None, cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: known)
    assert usable_cpus(tmp_path, tmp_path / "missing") == cpus

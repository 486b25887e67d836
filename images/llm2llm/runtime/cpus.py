"""Finds out how many CPUs a process may use in a container.

A container's CPU limit is a quota of time and no set of CPUs, so `os.cpu_count` and `os.sched_getaffinity` tell of all
CPUs of the node. A library that starts a thread for each of them uses the quota up at once, and then all threads stand
still until the next period of 100 ms (Linux, Documentation/scheduler/sched-bwc.rst).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(mount: Path = _MOUNT, membership: Path = _MEMBERSHIP) -> int:
    """Returns how many CPUs this process may use: those that it may run on, or its quota of CPU time if that is less.

    A quota is rounded up: with one thread less a part of it could never be used.

    Args:
        mount: where the control groups are, of either version.
        membership: which of them this process belongs to.
    """
    runs_on = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS
    return max(1, min([runs_on, *(math.ceil(quota) for quota in _quotas(mount, membership))]))


def _quotas(mount: Path, membership: Path) -> Iterator[float]:
    """The quotas, in CPUs, of this process's group and of all groups around it."""
    for folder in _groups(mount, membership):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()  # version 2; "max" where there is no limit
            yield int(quota) / int(period)
        with suppress(OSError, ValueError, ZeroDivisionError):
            if (microseconds := int((folder / "cpu.cfs_quota_us").read_text())) > 0:  # version 1; -1 without a limit
                yield microseconds / int((folder / "cpu.cfs_period_us").read_text())


def _groups(mount: Path, membership: Path) -> Iterator[Path]:
    """The folders that may tell a quota. In a container the group's own folder is usually mounted as the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = mount
        elif "cpu" in controllers.split(","):
            root = mount / "cpu"
        else:
            continue
        group = root / path.strip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(root))

"""What the API server's audit log tells of the operator: its writes, and how long each Job waited for its successor.

All times are the API server's own, taken when it had answered: one clock, and no client's event loop in between.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.jsonlines import read_json_lines
from tests.support.install import RELEASE, SYSTEM

from benchmarks.bareclient import PREFIX

OPERATOR_USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
READS = frozenset({"get", "list", "watch"})
NOT_COUNTED = frozenset({"events", "leases"})
JOB = re.compile(r"(?P<run>.+)-[0-9a-f]{8}-(?P<step>prepare|i\d{3}-[a-z]+)-a\d+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished request; `at` is when it was answered."""

    received: float
    at: float
    user: str
    agent: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def by_operator(self) -> bool:
        """Whether the operator asked for it."""
        return self.user == OPERATOR_USER

    @property
    def counted(self) -> bool:
        """Whether it is a write of the operator that is counted: no Event and no Lease."""
        return self.by_operator and self.verb not in READS and self.resource not in NOT_COUNTED


def entries(log: Path, start: int = 0) -> Iterator[Entry]:
    """The requests for resources from this place of the log on, in the order in which they ended."""
    for told in read_json_lines(log, start):
        if (found := _entry(told)) is not None:
            yield found


def _entry(told: dict[str, Any]) -> Entry | None:
    about = told.get("objectRef")
    if about is None or told["verb"] == "watch":
        return None
    return Entry(
        received=datetime.fromisoformat(told["requestReceivedTimestamp"]).timestamp(),
        at=datetime.fromisoformat(told["stageTimestamp"]).timestamp(),
        user=told["user"]["username"],
        agent=told.get("userAgent", ""),
        verb=told["verb"],
        resource="/".join(part for part in (about["resource"], about.get("subresource", "")) if part),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=told["responseStatus"]["code"],
    )


@dataclass
class Latencies:
    """Seconds, unsorted.

    Attributes:
        first_job: from a run's creation to its first Job.
        bare_job: the same by the bare client.
        next_job: from a Job's end to the next Job.
        outside: of that, what the two writes did not spend in the API server: watch, queue, decision.
        next_at: when each of `next_job` was over, in Unix time.
        created_twice: names of Jobs that were created more than once.
        second_attempts: Jobs of a second attempt.
    """

    first_job: list[float]
    bare_job: list[float]
    next_job: list[float]
    outside: list[float]
    next_at: list[float]
    created_twice: int = 0
    second_attempts: int = 0


def latencies(found: list[Entry]) -> Latencies:
    """From a run's creation to its first Job (the operator's, the bare client's), and from a Job's end to the next Job."""
    # A watcher can be done with its Job before the API server has noted that its answer to the applier is out.
    applied = {
        (entry.namespace, entry.name): entry.at
        for entry in found
        if (entry.verb, entry.resource, entry.code) == ("create", "augmentationruns", 201)
    }
    done: dict[tuple[str, str], float] = {}
    created: Counter[tuple[str, str]] = Counter()
    written: dict[tuple[str, str], float] = {}
    result = Latencies([], [], [], [], [])
    for entry in sorted(found, key=lambda entry: entry.at):
        match entry.verb, entry.resource, entry.code:
            case "patch", "jobs/status", 200:
                done[entry.namespace, _parts(entry.name)[0]] = entry.at
            case "patch", "augmentationruns/status", 200:
                written[entry.namespace, entry.name] = entry.at - entry.received
            case "create", "jobs", 201:
                run, step = _parts(entry.name.removeprefix(PREFIX))
                key = (entry.namespace, run)
                if entry.name.startswith(PREFIX):
                    result.bare_job.append(entry.at - applied[key])
                    continue
                created[entry.namespace, entry.name] += 1
                if not entry.name.endswith("-a0"):
                    result.second_attempts += 1
                elif step == "prepare":
                    result.first_job.append(entry.at - applied[key])
                else:
                    passed = entry.at - done.pop(key)
                    result.next_job.append(passed)
                    result.next_at.append(entry.at)
                    result.outside.append(passed - written[key] - (entry.at - entry.received))
    result.created_twice = sum(count > 1 for count in created.values())
    return result


def writes(found: list[Entry]) -> Counter[str]:
    """The operator's writes by what they wrote; those that were refused count, too."""
    return Counter(f"{entry.verb} {entry.resource}" for entry in found if entry.counted)


def _parts(job: str) -> tuple[str, str]:
    match = JOB.fullmatch(job)
    if match is None:
        raise ValueError(f"{job} is no name of a Job of the operator")
    return match["run"], match["step"]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)] if values else 0.0

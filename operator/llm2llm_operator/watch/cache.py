"""What the watches told, kept slim: runs, their Jobs and their pods, indexed by run.

Versions order what arrives (rule C3): an older echo never replaces a newer fact, what was deleted is not revived, and a
list drops only what it is new enough to know about. Comparing resourceVersions of one collection as numbers is what the
API server itself guarantees for etcd-backed resources.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from llm2llm_operator.model.observation import Job, Observation, Pod, job_from_object, pod_from_object
from llm2llm_operator.model.run import Key, Run
from llm2llm_operator.model.summary import RunSummary, summarize


@dataclass(frozen=True, slots=True)
class PackedRun:
    """A run as it is kept: 10,000 of them at rest as parsed documents would be 300 MiB, and are 15 as this.

    Attributes:
        standing: how it is now, for the metrics and for the order of a resync.
        packed: spec and status.
    """

    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    deleting: bool
    summary: RunSummary
    packed: bytes

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> PackedRun:
        """The view of an object of the API."""
        run = Run.from_object(body)
        packed = zlib.compress(msgspec.json.encode([run.spec, run.status]), level=1)
        return cls(run.namespace, run.name, run.uid, run.version, run.generation, run.deleting, summarize(run), packed)

    def unpacked(self) -> Run:
        """The run with its documents."""
        spec, status = msgspec.json.decode(zlib.decompress(self.packed))
        return Run(
            self.namespace, self.name, self.uid, self.version, self.generation, self.deleting, spec=spec, status=status
        )


Entry = PackedRun | Job | Pod
READERS: dict[str, Callable[[dict[str, Any]], Entry]] = {
    "runs": PackedRun.from_object,
    "jobs": job_from_object,
    "pods": pod_from_object,
}


class Cache:
    """All runs with their children, for one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {"runs": {}, "jobs": {}, "pods": {}}
        self._tombstones: dict[str, None] = {}
        self._runs: dict[Key, PackedRun] = {}
        self._children: dict[str, dict[str, Job | Pod]] = {}

    def run(self, key: Key) -> Run | None:
        """The run of this namespace and name."""
        run = self._runs.get(key)
        return run.unpacked() if run else None

    def keys(self) -> list[Key]:
        """All runs."""
        return list(self._runs)

    def finished(self, key: Key) -> bool:
        """Whether a run has ended, or is gone."""
        run = self._runs.get(key)
        return run is None or run.summary.finished

    def summaries(self) -> list[RunSummary]:
        """How each run is now."""
        return [run.summary for run in self._runs.values()]

    def observation(self, run: Run) -> Observation:
        """Jobs and pods that bear this very run's UID, without the pods of Jobs that only bear it and are not ours."""
        children = list(self._children.get(run.uid, {}).values())
        jobs = tuple(child for child in children if isinstance(child, Job))
        others = {job.uid for job in jobs if job.owner_uid != run.uid}
        pods = tuple(child for child in children if isinstance(child, Pod) and child.job_uid not in others)
        return Observation(jobs, pods)

    def put(self, collection: str, body: dict[str, Any]) -> Key | None:
        """Takes an object in; returns the key of the run that it belongs to, or None if it was no news."""
        metadata = body["metadata"]
        if self.knows(collection, metadata["uid"], int(metadata["resourceVersion"])):
            return None
        entry = READERS[collection](body)
        known = self._entries[collection].get(entry.uid)
        self._keep(collection, entry)
        if known and replace(known, version=entry.version) == entry:
            return None  # the Job controller counts, a kubelet tells of a condition: nothing that a decision needs
        return key_of(entry)

    def knows(self, collection: str, uid: str, version: int) -> bool:
        """Whether this version of an object is no news: it or a newer one is here, or the object was deleted."""
        known = self._entries[collection].get(uid)
        return uid in self._tombstones or (known is not None and known.version >= version)

    def deleting(self, job: Job) -> None:
        """The API server was told to delete this Job: known here before the watch tells, so it is asked for once."""
        known = self._entries["jobs"].get(job.uid)
        if isinstance(known, Job):
            self._keep("jobs", replace(known, deleting=True))

    def _keep(self, collection: str, entry: Entry) -> None:
        self._entries[collection][entry.uid] = entry
        if isinstance(entry, PackedRun):
            self._runs[entry.key] = entry
        else:
            self._children.setdefault(entry.run_uid, {})[entry.uid] = entry

    def drop(self, collection: str, uid: str) -> Key | None:
        """Takes an object out for good; returns the key of its run if the object was known."""
        self._tombstones[uid] = None
        if len(self._tombstones) > 10_000:  # noqa: PLR2004 - the oldest ones matter least
            self._tombstones.pop(next(iter(self._tombstones)))
        entry = self._entries[collection].pop(uid, None)
        if entry is None:
            return None
        if isinstance(entry, PackedRun):
            if self._runs.get(entry.key) is entry:
                del self._runs[entry.key]
        else:
            children = self._children.get(entry.run_uid, {})
            children.pop(uid, None)
            if not children:
                self._children.pop(entry.run_uid, None)
        return key_of(entry)

    def retain(self, collection: str, listed: Collection[str], version: int) -> set[Key]:
        """A whole list was taken in: what it does not hold goes, unless it is newer than the list.

        Args:
            collection: what was listed.
            listed: UIDs that the list held.
            version: what the list stands for.

        Returns:
            The runs for which something vanished.
        """
        gone = [
            uid for uid, entry in self._entries[collection].items() if uid not in listed and entry.version <= version
        ]
        return {key for uid in gone if (key := self.drop(collection, uid))}


def key_of(entry: Entry) -> Key:
    """The run that an entry belongs to."""
    return entry.key if isinstance(entry, PackedRun) else (entry.namespace, entry.run)

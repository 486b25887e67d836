"""Keeps what the watches reported, in a compact form: runs, their Jobs and their pods, indexed by run.

The informer puts every listed or watched object into the cache; a pass reads from it the run and an Observation of its
Jobs and pods.

resourceVersions order what arrives (rule C3): an older event never replaces a newer object, a deleted object is not
revived, and a list removes only objects that are not newer than the list. The API server itself guarantees for
etcd-backed resources that resourceVersions of one collection can be compared as numbers.
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
    """A run as the cache stores it: 10,000 finished runs as parsed documents would take 300 MiB; packed, they take 15.

    Attributes:
        summary: the state of the run, for the metrics and for the order of a resync.
        packed: spec and status, as compressed JSON.
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
        """Namespace and name of the run."""
        return (self.namespace, self.name)

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> PackedRun:
        """Packs an AugmentationRun as the API server returned it."""
        run = Run.from_object(body)
        packed = zlib.compress(msgspec.json.encode([run.spec, run.status]), level=1)
        return cls(run.namespace, run.name, run.uid, run.version, run.generation, run.deleting, summarize(run), packed)

    def unpacked(self) -> Run:
        """Returns the run with its spec and status decoded."""
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
    """Holds all runs with their children; for use in one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {"runs": {}, "jobs": {}, "pods": {}}
        self._tombstones: dict[str, None] = {}
        self._runs: dict[Key, PackedRun] = {}
        self._children: dict[str, dict[str, Job | Pod]] = {}

    def run(self, key: Key) -> Run | None:
        """Returns the run with this namespace and name, or None."""
        run = self._runs.get(key)
        return run.unpacked() if run else None

    def keys(self) -> list[Key]:
        """Returns the keys of all runs."""
        return list(self._runs)

    def finished(self, key: Key) -> bool:
        """Returns whether a run has ended or no longer exists."""
        run = self._runs.get(key)
        return run is None or run.summary.finished

    def summaries(self) -> list[RunSummary]:
        """Returns the current state of each run."""
        return [run.summary for run in self._runs.values()]

    def observation(self, run: Run) -> Observation:
        """Returns the Jobs and pods whose label has the UID of this run.

        Leaves out the pods of Jobs that have the label but another owner.
        """
        children = list(self._children.get(run.uid, {}).values())
        jobs = tuple(child for child in children if isinstance(child, Job))
        others = {job.uid for job in jobs if job.owner_uid != run.uid}
        pods = tuple(child for child in children if isinstance(child, Pod) and child.job_uid not in others)
        return Observation(jobs, pods)

    def put(self, collection: str, body: dict[str, Any]) -> Key | None:
        """Stores an object; returns the key of the run that it belongs to, or None if nothing relevant changed."""
        metadata = body["metadata"]
        if self.knows(collection, metadata["uid"], int(metadata["resourceVersion"])):
            return None
        entry = READERS[collection](body)
        known = self._entries[collection].get(entry.uid)
        self._store(collection, entry)
        if known and replace(known, version=entry.version) == entry:
            return None  # the Job controller counts, a kubelet reports a condition: nothing that a decision needs
        return key_of(entry)

    def knows(self, collection: str, uid: str, version: int) -> bool:
        """Returns whether this version of an object is already known: it or a newer one is here, or the object was
        deleted.
        """
        known = self._entries[collection].get(uid)
        return uid in self._tombstones or (known is not None and known.version >= version)

    def deleting(self, job: Job) -> None:
        """Marks a Job as deleting before the watch reports it, so that its deletion is requested only once."""
        known = self._entries["jobs"].get(job.uid)
        if isinstance(known, Job):
            self._store("jobs", replace(known, deleting=True))

    def _store(self, collection: str, entry: Entry) -> None:
        self._entries[collection][entry.uid] = entry
        if isinstance(entry, PackedRun):
            self._runs[entry.key] = entry
        else:
            self._children.setdefault(entry.run_uid, {})[entry.uid] = entry

    def drop(self, collection: str, uid: str) -> Key | None:
        """Removes an object for good; returns the key of its run if the object was known."""
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
        """Removes the objects that a complete list does not contain, unless they are newer than the list.

        Args:
            collection: what was listed.
            listed: UIDs of the objects in the list.
            version: resourceVersion of the list.

        Returns:
            The runs that lost an object.
        """
        missing = [
            uid for uid, entry in self._entries[collection].items() if uid not in listed and entry.version <= version
        ]
        return {key for uid in missing if (key := self.drop(collection, uid))}


def key_of(entry: Entry) -> Key:
    """Returns the key of the run that an entry belongs to."""
    return entry.key if isinstance(entry, PackedRun) else (entry.namespace, entry.run)

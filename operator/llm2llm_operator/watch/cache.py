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

from llm2llm_operator.build.job import job_prefix
from llm2llm_operator.model.observation import Job, Observation, Pod, job_from_object, pod_from_object
from llm2llm_operator.model.run import Key, Run
from llm2llm_operator.model.summary import RunSummary, summarize


@dataclass(frozen=True, slots=True)
class PackedRun:
    """A run as the cache stores it: 10,000 finished runs as parsed documents would take 300 MiB; packed, they take 15.

    Attributes:
        summary: the state of the run, for the metrics and for the order of a resync.
        packed: spec and status, as compressed JSON; empty if the run is too large to be kept, and has to be read.
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
        summary = summarize(run)
        packed = zlib.compress(msgspec.json.encode([run.spec, run.status]), level=1)
        if len(packed) > (RESTING_BYTES if summary.finished or summary.held else ACTIVE_BYTES):
            packed = b""
        return cls(run.namespace, run.name, run.uid, run.version, run.generation, run.deleting, summary, packed)

    def unpacked(self) -> Run | None:
        """Returns the run with its spec and status decoded, or None if they are not kept."""
        if not self.packed:
            return None
        spec, status = msgspec.json.decode(zlib.decompress(self.packed))
        return Run(
            self.namespace, self.name, self.uid, self.version, self.generation, self.deleting, spec=spec, status=status
        )


Entry = PackedRun | Job | Pod
RunIdentity = tuple[str, str]
"""Namespace and UID of a run."""
READERS: dict[str, Callable[[dict[str, Any]], Entry]] = {
    "runs": PackedRun.from_object,
    "jobs": job_from_object,
    "pods": pod_from_object,
}


ACTIVE_BYTES = 64 * 1024
"""Largest packed run that is kept while it is active; a step document has no room for more (records.STEP_LIMIT)."""
RESTING_BYTES = 8 * 1024
"""Largest packed run that is kept once it has ended or is held; an ordinary one has 1.5 KiB."""


class Cache:
    """Holds all runs with their children; for use in one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {"runs": {}, "jobs": {}, "pods": {}}
        self._tombstones: dict[str, None] = {}
        self._runs: dict[Key, PackedRun] = {}
        self._children: dict[RunIdentity, dict[str, Job | Pod]] = {}

    def run(self, key: Key) -> Run | None:
        """Returns the run with this namespace and name; None if there is none, or if it is too large to be kept."""
        run = self._runs.get(key)
        return run.unpacked() if run else None

    def must_read(self, key: Key) -> bool:
        """Returns whether there is such a run that is too large to be kept."""
        run = self._runs.get(key)
        return run is not None and not run.packed

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
        """Returns the Jobs that this run controls, and the pods of its Jobs, those that are gone included.

        Labels alone prove nothing: anyone who may create Jobs or pods, in whatever namespace, can set them (rule C20).
        A pod of a Job that is gone is known by that Job's name. It can hold the run back (rule C7) and do nothing else:
        a report counts only from a pod whose Job is there.
        """
        children = list(self._children.get((run.namespace, run.uid), {}).values())
        jobs = [child for child in children if isinstance(child, Job)]
        ours = tuple(job for job in jobs if job.owner_uid == run.uid)
        others = {job.uid for job in jobs if job.owner_uid != run.uid}
        prefix = job_prefix(run.name, run.uid)
        pods = [child for child in children if isinstance(child, Pod) and child.job_name.startswith(prefix)]
        return Observation(ours, tuple(pod for pod in pods if pod.job_uid not in others))

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
        known = self._entries[collection].get(entry.uid)
        self._entries[collection][entry.uid] = entry
        if isinstance(entry, PackedRun):
            self._runs[entry.key] = entry
            return
        if isinstance(known, Job | Pod) and _run_of(known) != _run_of(entry):  # its label was edited
            self._drop_child(known)
        self._children.setdefault(_run_of(entry), {})[entry.uid] = entry

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
            self._drop_child(entry)
        return key_of(entry)

    def _drop_child(self, entry: Job | Pod) -> None:
        identity = _run_of(entry)
        children = self._children.get(identity, {})
        children.pop(entry.uid, None)
        if not children:
            self._children.pop(identity, None)

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


def _run_of(entry: Job | Pod) -> RunIdentity:
    """Returns namespace and UID of the run that a Job or pod claims to belong to: an owner is in the same namespace."""
    return (entry.namespace, entry.run_uid)


def key_of(entry: Entry) -> Key:
    """Returns the key of the run that an entry belongs to."""
    return entry.key if isinstance(entry, PackedRun) else (entry.namespace, entry.run)

"""What the watches told, kept slim: runs, their Jobs and their pods, indexed by run.

Versions order what arrives (rule 3): an older echo never replaces a newer fact, what was deleted is not revived, and a
list drops only what it is new enough to know about. Comparing resourceVersions of one collection as numbers is what the
API server itself guarantees for etcd-backed resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llm2llm_operator.observe import Job, Observation, Pod, job_from_object, pod_from_object
from llm2llm_operator.resource import Key, Run

Entry = Run | Job | Pod
READERS: dict[str, Callable[[dict[str, Any]], Run | Job | Pod]] = {
    "runs": Run.from_object,
    "jobs": job_from_object,
    "pods": pod_from_object,
}


class Cache:
    """All runs with their children, for one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {"runs": {}, "jobs": {}, "pods": {}}
        self._tombstones: dict[str, None] = {}
        self._runs: dict[Key, Run] = {}
        self._children: dict[str, dict[str, Job | Pod]] = {}

    def run(self, key: Key) -> Run | None:
        """The run of this namespace and name."""
        return self._runs.get(key)

    def keys(self) -> list[Key]:
        """All runs."""
        return list(self._runs)

    def all_runs(self) -> list[Run]:
        """All runs as they are known now."""
        return list(self._runs.values())

    def observation(self, run: Run) -> Observation:
        """Jobs and pods that bear this very run's UID, without the pods of Jobs that only bear it and are not ours."""
        children = list(self._children.get(run.uid, {}).values())
        jobs = tuple(child for child in children if isinstance(child, Job))
        others = {job.uid for job in jobs if job.owner_uid != run.uid}
        pods = tuple(child for child in children if isinstance(child, Pod) and child.job_uid not in others)
        return Observation(jobs, pods)

    def put(self, collection: str, body: dict[str, Any]) -> Key | None:
        """Takes an object in; returns the key of the run that it belongs to, or None if it was no news."""
        entry = READERS[collection](body)
        known = self._entries[collection].get(entry.uid)
        if known and known.version >= entry.version:
            return None
        if entry.uid in self._tombstones:  # a UID is never used again
            return None
        self._entries[collection][entry.uid] = entry
        if isinstance(entry, Run):
            self._runs[entry.key] = entry
        else:
            self._children.setdefault(entry.run_uid, {})[entry.uid] = entry
        return key_of(entry)

    def drop(self, collection: str, uid: str) -> Key | None:
        """Takes an object out for good; returns the key of its run if the object was known."""
        self._tombstones[uid] = None
        if len(self._tombstones) > 10_000:  # noqa: PLR2004 - the oldest ones matter least
            self._tombstones.pop(next(iter(self._tombstones)))
        entry = self._entries[collection].pop(uid, None)
        if entry is None:
            return None
        if isinstance(entry, Run):
            if self._runs.get(entry.key) is entry:
                del self._runs[entry.key]
        else:
            children = self._children.get(entry.run_uid, {})
            children.pop(uid, None)
            if not children:
                self._children.pop(entry.run_uid, None)
        return key_of(entry)

    def replace(self, collection: str, items: Iterable[dict[str, Any]], version: int) -> set[Key]:
        """Takes a whole list in; returns the keys of the runs for which something changed.

        What the list does not hold is dropped only if it is not newer than the list.
        """
        changed: set[Key] = set()
        listed: set[str] = set()
        for body in items:
            listed.add(body["metadata"]["uid"])
            key = self.put(collection, body)
            if key:
                changed.add(key)
        for uid, entry in list(self._entries[collection].items()):
            if uid not in listed and entry.version <= version:
                key = self.drop(collection, uid)
                if key:
                    changed.add(key)
        return changed


def key_of(entry: Entry) -> Key:
    """The run that an entry belongs to."""
    return entry.key if isinstance(entry, Run) else (entry.namespace, entry.run)

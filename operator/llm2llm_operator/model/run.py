"""One AugmentationRun as the cache gives it out: identity, spec and status as the API server has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str]
"""Namespace and name of a run."""


@dataclass(frozen=True)
class Run:
    """One AugmentationRun as the cache keeps it; `spec` and `status` are as the API server gave them."""

    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    deleting: bool
    spec: dict[str, Any] = field(repr=False)
    status: dict[str, Any] = field(repr=False)

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> Run:
        """The view of an object of the API."""
        metadata = body["metadata"]
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            version=int(metadata["resourceVersion"]),
            generation=metadata.get("generation", 0),
            deleting="deletionTimestamp" in metadata,
            spec=body.get("spec") or {},
            status=body.get("status") or {},
        )

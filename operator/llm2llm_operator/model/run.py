"""One AugmentationRun as the cache returns it: identity, spec and status as the API server has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str]
"""Namespace and name of a run."""


@dataclass(frozen=True)
class Run:
    """One AugmentationRun; `spec` and `status` are documents as the API server returned them."""

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
        """Namespace and name of the run."""
        return (self.namespace, self.name)

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> Run:
        """Reads an AugmentationRun."""
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

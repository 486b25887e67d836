"""The API server's JSON, decoded no further than somebody needs it.

A list of ten thousand runs with their Jobs and pods is 30,000 documents, half of each is managedFields, and nearly all
are known already. So a page is cut into documents, of each only UID and version are read, and the rest is decoded where
it is news. That is what msgspec's typed decoder is for: it skips what no type names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

JsonError = msgspec.DecodeError


class _Head(msgspec.Struct, rename="camel"):
    uid: str
    resource_version: str


class _Object(msgspec.Struct):
    metadata: _Head


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    """What anybody here reads of an object's metadata."""

    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] | None = None
    owner_references: list[dict[str, Any]] | None = None


class _Document(msgspec.Struct):
    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


class _ListHead(msgspec.Struct, rename="camel"):
    resource_version: str
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListHead
    items: list[msgspec.Raw] | None = None


_LIST = msgspec.json.Decoder(_List)
_OBJECT = msgspec.json.Decoder(_Object)
_DOCUMENT = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a page: which one, in which version, and its document where somebody wants it."""

    uid: str
    version: int
    raw: msgspec.Raw | bytes

    def document(self) -> dict[str, Any]:
        """Spec, status and what is read of the metadata."""
        found = _DOCUMENT.decode(self.raw)
        metadata: dict[str, Any] = msgspec.to_builtins(found.metadata)
        return {"metadata": metadata, "spec": found.spec or {}, "status": found.status or {}}


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list; `version` is what the whole list stands for, `more` how to ask for the next page."""

    items: list[ListedObject]
    version: int
    more: str


def decode(data: bytes) -> dict[str, Any]:
    """A JSON document. Raises JsonError."""
    document: dict[str, Any] = msgspec.json.decode(data)
    return document


def decode_page(data: bytes) -> Page:
    """A page of a list. Raises JsonError."""
    found = _LIST.decode(data)
    heads = [(_OBJECT.decode(raw).metadata, raw) for raw in found.items or ()]
    items = [ListedObject(head.uid, int(head.resource_version), raw) for head, raw in heads]
    return Page(items, int(found.metadata.resource_version), found.metadata.continue_)

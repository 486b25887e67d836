"""Decodes the API server's JSON only as far as it is needed.

A page of a list is split into documents, and of each only the UID and version are read. The cache then asks for the
whole document only if it does not know that version.

A list of ten thousand runs with their Jobs and pods is 30,000 documents; half of each is managedFields, and nearly all
are already known. msgspec's typed decoder skips everything that no type names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from llm2llm_operator.kube.nesting import list_items, shallow

JsonError = msgspec.DecodeError


class _Head(msgspec.Struct, rename="camel"):
    uid: str
    resource_version: str


class _Object(msgspec.Struct):
    metadata: _Head


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    """The fields of an object's metadata that the operator reads."""

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


class _NamedHead(msgspec.Struct, rename="camel"):
    name: str
    uid: str
    resource_version: str
    namespace: str = ""


class _Named(msgspec.Struct):
    metadata: _NamedHead


_LIST = msgspec.json.Decoder(_List)
_OBJECT = msgspec.json.Decoder(_Object)
_DOCUMENT = msgspec.json.Decoder(_Document)
_NAMED = msgspec.json.Decoder(_Named)


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a page: its UID, its version, and its document, decoded on request."""

    uid: str
    version: int
    raw: msgspec.Raw | bytes

    def document(self) -> dict[str, Any]:
        """Decodes spec, status and the metadata that the operator reads."""
        decoded = _DOCUMENT.decode(self.raw)
        metadata: dict[str, Any] = msgspec.to_builtins(decoded.metadata)
        return {"metadata": metadata, "spec": decoded.spec or {}, "status": decoded.status or {}}


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list.

    Attributes:
        items: those that could be read.
        version: resourceVersion of the whole list.
        more: the token for the next page.
        unreadable: how many other objects the page has.
        size: bytes of the whole page as it was sent.
    """

    items: list[ListedObject]
    version: int
    more: str
    unreadable: int = 0
    size: int = 0


def decode(data: bytes) -> dict[str, Any]:
    """Decodes a JSON document or a list of documents. Raises JsonError, also if a document is nested too deeply.

    Such a document is left out of a list.
    """
    try:
        document: dict[str, Any] = msgspec.json.decode(data)
    except RecursionError:
        flat = shallow(data)
        if flat is not None:
            return decode(flat)
        head, items = _readable_items(data)
        document = msgspec.json.decode(head) | {"items": [msgspec.json.decode(item) for item in items if item]}
    return document


def decode_page(data: bytes) -> Page:
    """Decodes a page of a list. Raises JsonError.

    An object that is nested too deeply costs the page nothing but that object.
    """
    head, items, unreadable = _split(data)
    return Page([_listed(item) for item in items], int(head.resource_version), head.continue_, unreadable, len(data))


def decode_names(data: bytes) -> dict[str, Any]:
    """Decodes a list into a document in which each item has its name, namespace, UID and version. Raises JsonError."""
    head, items, _ = _split(data)
    named = [msgspec.to_builtins(_NAMED.decode(item)) for item in items]
    return {"metadata": msgspec.to_builtins(head), "items": named}


def _split(data: bytes) -> tuple[_ListHead, list[msgspec.Raw | bytes], int]:
    """Splits a list into its head and those of its items that can be read, and counts the others. Raises JsonError."""
    try:
        decoded = _LIST.decode(data)
        return decoded.metadata, list(decoded.items or ()), 0
    except RecursionError:
        head, items = _readable_items(data)
        readable = [item for item in items if item]
        return _LIST.decode(head).metadata, list(readable), len(items) - len(readable)


def _readable_items(data: bytes) -> tuple[bytes, list[bytes | None]]:
    """Splits a list into its head and its items; None stands for one that is nested too deeply. Raises JsonError."""
    try:
        head, items = list_items(data)
    except ValueError as error:
        raise JsonError("the document is nested too deeply") from error
    return head, [shallow(item) for item in items]


def _listed(raw: msgspec.Raw | bytes) -> ListedObject:
    head = _OBJECT.decode(raw).metadata
    return ListedObject(head.uid, int(head.resource_version), raw)

"""Handles JSON documents that are nested too deeply for recursive decoders, without recursion.

The API server accepts JSON of up to 10,000 levels, and every decoder in Python gives up at about 1,000. No type that
the operator reads is that deep, but `metadata.managedFields` mirrors what somebody wrote into a field without a schema,
or claims to have written. So a document that is too deep is read without that field, and skipped if that does not help.
"""

from __future__ import annotations

import re

import msgspec

RESERVE = 300
"""Levels of Python's recursion limit, of 1,000, that a readable document leaves to whoever decodes it next."""
_RAW = msgspec.json.Decoder(msgspec.Raw)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_STEPS = {ord(bracket): step for bracket, step in zip("[{]}", (1, 1, -1, -1), strict=True)}
_METADATA_DEPTHS = (2, 3)
"""Levels at which the fields of an object's metadata are: in a document, and in the event of a watch."""


def shallow(document: bytes) -> bytes | None:
    """Returns a JSON document that is not nested too deeply: as it is, or without managedFields; else None."""
    if _fits(document):
        return document
    reduced = _without_managed_fields(document)
    return reduced if _fits(reduced) else None


def list_items(data: bytes) -> tuple[bytes, list[bytes]]:
    """Splits a list as the API server returns it into its head, with an empty list of items, and its items."""
    begin = data.index(b'"items":[') + len(b'"items":[')
    items: list[bytes] = []
    depth, start = 0, begin
    for token in _TOKEN.finditer(data, begin):
        step = _STEPS.get(data[token.start()], 0)
        if step == 1:
            if depth == 0:
                start = token.start()
            depth += 1
        elif step == -1:
            depth -= 1
            if depth == 0:
                items.append(data[start : token.end()])
            elif depth < 0:
                return data[:begin] + data[token.start() :], items
    raise ValueError("the list has no end")


def _fits(document: bytes, reserve: int = RESERVE) -> bool:
    """Returns whether a decoder that starts `reserve` calls below this one can read the document.

    msgspec's look for the end of a value takes a microsecond per kilobyte, a look at each bracket here a hundred.
    """
    if reserve:
        return _fits(document, reserve - 1)
    try:
        _RAW.decode(document)
    except RecursionError:
        return False
    except msgspec.DecodeError:
        return True  # its decoder will say what is wrong
    return True


def _without_managed_fields(document: bytes) -> bytes:
    """Empties the lists under every "managedFields" key that can be that of an object's metadata."""
    kept: list[bytes] = []
    depth, copied, opened = 0, 0, 0
    managed = False
    for token in _TOKEN.finditer(document):
        step = _STEPS.get(document[token.start()], 0)
        if step == 1:
            depth += 1
            if managed and not opened and document[token.start()] == ord("["):
                kept.append(document[copied : token.end()])
                opened = depth
        elif step == -1:
            if depth == opened:
                copied, opened = token.start(), 0
            depth -= 1
        if not opened:
            managed = depth in _METADATA_DEPTHS and token[0] == b'"managedFields"'
    kept.append(document[copied:])
    return b"".join(kept)

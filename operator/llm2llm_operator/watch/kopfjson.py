"""Reads what the API server sends to kopf, so that one unreadable object does not end kopf's watch on all of them.

kopf decodes whole pages of a list and single lines of a watch with Python's recursive decoder, and has no setting for
it. `install` puts functions of ours in the place of two of its client's (kopf is pinned to one minor version).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kopf._cogs.clients import api

from llm2llm_operator.kube import decode as wire
from llm2llm_operator.kube.client import COLLECTIONS
from llm2llm_operator.kube.nesting import shallow
from llm2llm_operator.observability import metrics

log = logging.getLogger(__name__)
METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
CHUNK_BYTES = 1024 * 1024
"""As in kopf."""
_kopfs_lines = api.iter_jsonlines


def install() -> None:
    """Makes kopf read through this module."""
    api.get = _get
    api.iter_jsonlines = _readable_lines


async def _get(url: str, *, headers: dict[str, str] | None = None, **request: Any) -> Any:
    """Sends a GET request of kopf's and decodes the answer.

    Of a list kopf gets the names alone: it needs the version to watch from, and the objects are listed by us as soon as
    kopf has its list. Whole objects would take five times as much memory as their JSON, a page of them at a time.
    """
    is_list = any(f"/{plural}?" in url or url.endswith(f"/{plural}") for _, plural, _ in COLLECTIONS.values())
    if is_list:
        headers = (headers or {}) | {"Accept": METADATA_ALONE}
    async with await api.request(method="get", url=url, headers=headers, **request) as response:
        data = await response.read()
    return wire.decode_names(data) if is_list else wire.decode(data)


async def _readable_lines(content: aiohttp.StreamReader, chunk_size: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
    """Yields the lines of a watch that kopf can decode; counts and logs the others."""
    async for line in _kopfs_lines(content, chunk_size):
        flat = shallow(line)
        if flat is not None:
            yield flat
            continue
        metrics.UNREADABLE_OBJECTS.inc()
        log.error("skipped an event of %d bytes that is nested too deeply", len(line))

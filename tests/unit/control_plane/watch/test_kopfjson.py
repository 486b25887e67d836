"""What kopf gets to read: everything that it can, and nothing that would end its watch."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import kopf._cogs.clients.api
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from tests.support.log import Log

from llm2llm_operator.observability import metrics
from llm2llm_operator.watch import kopfjson


def nested(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


def event(name: str, *, managed: int = 1, spec: int = 1) -> str:
    metadata = f'{{"managedFields":[{{"fieldsV1":{nested(managed)}}}],"name":"{name}","namespace":"ns"}}'
    return f'{{"type":"ADDED","object":{{"metadata":{metadata},"spec":{nested(spec)}}}}}'


async def names_read(lines: list[str]) -> list[Any]:
    """What kopf makes of these lines of a watch."""
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    content.feed_data("".join(f"{line}\n" for line in lines).encode())
    content.feed_eof()
    return [
        json.loads(line)["object"]["metadata"]["name"] async for line in kopf._cogs.clients.api.iter_jsonlines(content)
    ]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("get", "iter_jsonlines"):
        monkeypatch.setattr(kopf._cogs.clients.api, name, getattr(kopf._cogs.clients.api, name))
    kopfjson.install()


def test_fault_53_an_event_that_kopf_cannot_parse_is_skipped_counted_and_logged(log: Log):
    before = metrics.UNREADABLE_OBJECTS._value.get()
    read = asyncio.run(
        names_read([event("one"), event("deep", spec=1_500), event("managed", managed=1_500), event("two")])
    )
    assert read == ["one", "managed", "two"]
    assert metrics.UNREADABLE_OBJECTS._value.get() == before + 1
    assert "bytes that is nested too deeply" in log.text


class Answer:
    """An answer of the API server to kopf."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> bytes:
        return self._data


def listed(name: str, *, managed: int = 1) -> str:
    metadata = f'"managedFields":[{{"fieldsV1":{nested(managed)}}}],"name":"{name}","namespace":"ns","resourceVersion":"3","uid":"u"'
    return f'{{"kind":"PartialObjectMetadata","metadata":{{{metadata}}}}}'


@pytest.mark.parametrize("managed", [1, 1_500])
def test_a_list_of_kopfs_has_the_names_of_the_objects(managed: int, monkeypatch: pytest.MonkeyPatch):
    items = ",".join([listed("one"), listed("two", managed=managed), listed("three")])
    asked: list[dict[str, Any]] = []

    async def request(**options: Any) -> Answer:
        asked.append(options)
        return Answer(f'{{"metadata":{{"resourceVersion":"7","continue":"more"}},"items":[{items}]}}'.encode())

    monkeypatch.setattr(kopf._cogs.clients.api, "request", request)
    page = asyncio.run(kopf._cogs.clients.api.get("/api/v1/pods?limit=9", settings=None, logger=None))  # type: ignore[arg-type]
    assert page["metadata"] == {"resourceVersion": "7", "continue": "more"}
    assert page["items"] == [
        {"metadata": {"name": name, "namespace": "ns", "resourceVersion": "3", "uid": "u"}}
        for name in ("one", "two", "three")
    ]
    [request_sent] = asked
    assert "PartialObjectMetadataList" in request_sent["headers"]["Accept"]


def test_what_kopf_discovers_is_asked_for_as_it_is(monkeypatch: pytest.MonkeyPatch):
    async def request(*, headers: dict[str, str] | None, **_: Any) -> Answer:
        return Answer(json.dumps({"headers": headers}).encode())

    monkeypatch.setattr(kopf._cogs.clients.api, "request", request)
    found = asyncio.run(kopf._cogs.clients.api.get("/apis/batch/v1", settings=None, logger=None))  # type: ignore[arg-type]
    assert found == {"headers": None}

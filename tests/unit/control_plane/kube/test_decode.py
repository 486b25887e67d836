from __future__ import annotations

import json
from typing import Any

import pytest

from llm2llm_operator.kube import decode as wire


def test_a_page_tells_of_each_object_which_one_it_is_and_keeps_its_document_without_managed_fields():
    metadata: dict[str, Any] = {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2}
    metadata |= {"labels": {"a": "b"}, "ownerReferences": [{"uid": "o", "controller": True}]}
    body: dict[str, Any] = {"metadata": metadata, "spec": {"a": [1, None, "ä"]}, "status": {}}
    sent = body | {"kind": "Job", "metadata": metadata | {"managedFields": [{"f:x": {}}]}}
    listed = wire.decode_page(
        json.dumps({"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [sent]}).encode()
    )
    assert (listed.version, listed.more) == (9, "c")
    [item] = listed.items
    assert (item.uid, item.version, item.document()) == ("u", 7, body)


def test_a_list_without_objects_is_empty():
    listed = wire.decode_page(b'{"metadata": {"resourceVersion": "9"}, "items": null}')
    assert (listed.items, listed.more) == ([], "")


@pytest.mark.parametrize("data", [b"", b"<html>", b'{"metadata": {}}', b'{"kind": "Status", "code": 200}'])
def test_what_is_no_list_is_told_so(data: bytes):
    with pytest.raises(wire.JsonError):
        wire.decode_page(data)


def nested(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


def written(name: str, *, managed: int = 1, spec: int = 1) -> str:
    """A run as the API server sends it, with so many levels in its managedFields and its spec."""
    fields = f'"managedFields":[{{"manager":"]}}\\"[{{","fieldsV1":{nested(managed)}}}]'
    return (
        f'{{"metadata":{{{fields},"name":"{name}","namespace":"ns","resourceVersion":"3","uid":"{name}"}},'
        f'"spec":{nested(spec)},"status":{{}}}}'
    )


def listed(*documents: str) -> bytes:
    return f'{{"metadata":{{"resourceVersion":"9","continue":"c"}},"items":[{",".join(documents)}]}}'.encode()


@pytest.mark.parametrize("levels", [1_100, 9_000])
def test_fault_53_an_object_that_is_nested_too_deeply_costs_a_list_only_itself(levels: int):
    data = listed(written("one"), written("deep", spec=levels), written("two"))
    page = wire.decode_page(data)
    assert (page.version, page.more, page.unreadable) == (9, "c", 1)
    assert [item.document()["metadata"]["name"] for item in page.items] == ["one", "two"]
    assert [item["metadata"]["name"] for item in wire.decode(data)["items"]] == ["one", "two"]


@pytest.mark.parametrize("levels", [1_100, 9_000])
def test_managed_fields_are_left_out_where_only_they_are_nested_too_deeply(levels: int):
    deep = written("deep", managed=levels)
    page = wire.decode_page(listed(written("one"), deep))
    assert [item.document()["metadata"]["name"] for item in page.items] == ["one", "deep"]
    assert wire.decode(deep.encode())["metadata"]["name"] == "deep"


@pytest.mark.parametrize("data", [written("r", spec=2_000), "[" * 2_000 + "]" * 2_000, "[" * 2_000])
def test_a_document_that_is_nested_too_deeply_is_no_json_to_us(data: str):
    with pytest.raises(wire.JsonError):
        wire.decode(data.encode())

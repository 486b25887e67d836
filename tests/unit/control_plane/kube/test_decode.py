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

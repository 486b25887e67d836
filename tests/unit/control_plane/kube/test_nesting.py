from __future__ import annotations

import json

import pytest

from llm2llm_operator.kube.nesting import list_items, shallow


def nested(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


@pytest.mark.parametrize("levels", [1, 100, 500])
def test_what_an_object_of_kubernetes_can_be_is_taken_as_it_is(levels: int):
    document = nested(levels).encode()
    assert shallow(document) is document


@pytest.mark.parametrize("levels", [1_000, 1_100, 5_000, 9_990])
def test_what_no_decoder_can_read_is_refused(levels: int):
    assert shallow(nested(levels).encode()) is None


@pytest.mark.parametrize("levels", range(600, 1_000, 23))
def test_whatever_is_taken_can_be_read_by_a_caller_that_is_deeper_in_calls(levels: int):
    document = shallow(nested(levels).encode())

    def read(calls: int) -> object:
        return read(calls - 1) if calls else json.loads(document or b"{}")

    read(200)


def test_the_event_of_a_watch_keeps_everything_but_its_managed_fields():
    managed = f'"managedFields":[{{"fieldsV1":{nested(3_000)}}},{{"manager":"a]"}}],"name":"r"'
    event = f'{{"type":"ADDED","object":{{"metadata":{{{managed}}},"spec":{{"text":"\\"managedFields\\":["}}}}}}'
    document = shallow(event.encode())
    assert document is not None
    assert json.loads(document) == {
        "type": "ADDED",
        "object": {"metadata": {"managedFields": [], "name": "r"}, "spec": {"text": '"managedFields":['}},
    }


@pytest.mark.parametrize("items", [[], ["{}"], ['{"a":"]}"}', '{"b":[{"c":"\\""}]}', "{}"]])
def test_a_list_is_split_at_its_items_alone(items: list[str]):
    head, split = list_items(f'{{"metadata":{{}},"items":[{",".join(items)}],"kind":"List"}}'.encode())
    assert json.loads(head) == {"metadata": {}, "items": [], "kind": "List"}
    assert split == [item.encode() for item in items]


def test_a_list_without_an_end_is_refused():
    with pytest.raises(ValueError, match="no end"):
        list_items(b'{"items":[{"a":1}')

from __future__ import annotations

from typing import Any

import pytest

from llm2llm.api.base import TEXT_LIMIT
from llm2llm_crdgen import crd, textlimit

NAMES = {"type": "string", "maxLength": 8}
BOUND_OF_A_SPEC = 512 * 1024
"""Characters. An API server takes 1.5 MiB, and a step 64 KiB; the rest is room for lists that are rarely long at once."""


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        ({"type": "array", "items": NAMES}, "self.map(v0, size(v0)).sum()"),
        ({"type": "object", "additionalProperties": NAMES}, "self.map(v0, size(v0) + size(self[v0])).sum()"),
        ({"type": "object", "properties": {"a": NAMES}, "required": ["a"]}, "size(self.a)"),
        ({"type": "object", "properties": {"a": NAMES, "n": {"type": "integer"}}}, "(has(self.a) ? size(self.a) : 0)"),
        (
            {"type": "array", "items": {"type": "array", "items": NAMES}},
            "self.map(v0, v0.map(v1, size(v1)).sum()).sum()",
        ),
    ],
)
def test_the_rule_adds_the_texts_of_every_part(schema: dict[str, Any], rule: str):
    textlimit.add_rule(schema, 5)
    assert schema["x-kubernetes-validations"] == [{"rule": f"{rule} <= 5", "message": TEXT_LIMIT.format(5)}]


def test_other_rules_stay():
    schema: dict[str, Any] = {"type": "array", "items": NAMES, "x-kubernetes-validations": [{"rule": "true"}]}
    textlimit.add_rule(schema, 5)
    assert schema["x-kubernetes-validations"][0] == {"rule": "true"}


def test_no_spec_holds_more_than_its_bound():
    document = crd.custom_resource_definition()
    root = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert most_characters(root["properties"]["spec"]) < BOUND_OF_A_SPEC


def most_characters(schema: dict[str, Any]) -> int:
    """The characters that a value may have at most, as JSON: the product of what the schema allows, or the rule's."""
    limits = [
        int(entry["rule"].rpartition("<= ")[2])
        for entry in schema.get("x-kubernetes-validations", [])
        if entry["message"] == TEXT_LIMIT.format(entry["rule"].rpartition("<= ")[2])
    ]
    match schema["type"]:
        case "object" if "properties" in schema:
            inner = sum(len(name) + most_characters(field) for name, field in schema["properties"].items())
        case "object":
            longest = 0
            for entry in schema.get("x-kubernetes-validations", []):
                if entry["rule"].startswith("self.all(name, name.size() <= "):
                    longest = int(entry["rule"].rpartition("<= ")[2].rstrip(")"))
            assert longest, "a map whose names have no limit"
            inner = schema["maxProperties"] * (longest + most_characters(schema["additionalProperties"]))
        case "array":
            inner = schema["maxItems"] * most_characters(schema["items"])
        case "string" if "enum" in schema:
            inner = max(map(len, schema["enum"]))
        case "string":
            inner = schema["maxLength"]
        case _:
            inner = 20  # a number, or true and false
    return min([inner, *limits])

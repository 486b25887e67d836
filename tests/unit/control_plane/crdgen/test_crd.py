from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llm2llm_crdgen.crd import SIZE_LIMIT, custom_resource_definition

CHECKOUT = Path(__file__).resolve().parents[4]
SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(node: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, node)]
    for name, child in node.get("properties", {}).items():
        found += walk(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(node.get(inner), dict):
            found += walk(node[inner], f"{path}[]")
    return found


def test_the_committed_crds_are_what_the_model_generates():
    for folder in ("crds", "charts/llm2llm-operator/crds"):
        text = (CHECKOUT / folder / "llm2llm.dev_augmentationruns.yaml").read_text()
        assert yaml.safe_load(text) == custom_resource_definition()


def fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that `kubectl explain` has a page or a line for: fields, also those of objects in lists and maps."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(node.get(inner), dict):
            yield from fields(node[inner], f"{path}[]")


def test_every_field_has_a_description_that_is_a_sentence():
    documented = dict(fields({"properties": {name: SCHEMA["properties"][name] for name in ("spec", "status")}}, ""))
    assert len(documented) > 200
    assert [path for path, node in documented.items() if not node.get("description", "").endswith(".")] == []


def test_every_list_map_and_string_is_bounded():
    loose = []
    for path, node in walk(SCHEMA["properties"]["spec"], ".spec"):
        if node["type"] == "array" and "maxItems" not in node:
            loose.append(path)
        if node["type"] == "object" and "additionalProperties" in node and "maxProperties" not in node:
            loose.append(path)
        if node["type"] == "string" and "maxLength" not in node and "enum" not in node:
            loose.append(path)
    assert loose == []


def test_it_is_small_enough_for_client_side_apply():
    assert len(json.dumps(custom_resource_definition())) < SIZE_LIMIT

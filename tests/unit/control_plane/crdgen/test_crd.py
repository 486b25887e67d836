from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llm2llm import __version__
from llm2llm.records import digest_of
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
    first, second = (
        (CHECKOUT / folder / "llm2llm.dev_augmentationruns.yaml").read_text()
        for folder in ("crds", "charts/llm2llm-operator/files")
    )
    assert first == second
    assert yaml.safe_load(first) == custom_resource_definition()


def test_it_says_which_release_it_is_of_and_has_a_digest_of_all_that_an_upgrade_could_change():
    document = custom_resource_definition()
    metadata = document["metadata"]
    assert metadata["labels"]["app.kubernetes.io/version"] == __version__
    assert metadata["annotations"] == {"llm2llm.dev/crd-digest": digest_of(document["spec"])}


def test_the_chart_can_cut_the_head_off_without_reading_the_rest():
    text = (CHECKOUT / "crds" / "llm2llm.dev_augmentationruns.yaml").read_text()
    head, _, rest = text.partition("\nspec:\n")
    assert yaml.safe_load(head).keys() == {"apiVersion", "kind", "metadata"}
    assert yaml.safe_load("spec:\n" + rest).keys() == {"spec"}


def test_the_code_the_package_and_the_chart_are_of_one_version():
    chart = yaml.safe_load((CHECKOUT / "charts" / "llm2llm-operator" / "Chart.yaml").read_text())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert {chart["version"], chart["appVersion"], project["version"]} == {__version__}


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

"""Compares the fields of an AugmentationRun that the API server serves with those that this operator knows. Pure.

The API server prunes what its CustomResourceDefinition does not have: a status written by a newer operator loses fields
without an error, and a spec loses what a user has set. The operator has no right to read the CRD; the OpenAPI document
of the API group, which everyone may read, has the same schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm2llm import __version__
from llm2llm.api.run import GROUP, KIND, PLURAL, AugmentationRunSpec
from llm2llm_operator.model.status import FORMER_NAME, RunStatus

NAMED_AT_MOST = 8
"""Fields that a message names; the number of the others follows."""


def known_fields() -> frozenset[str]:
    """Returns the paths of all fields that the models have: `spec.train.env[].name`."""
    found: set[str] = set()
    for name, model in (("spec", AugmentationRunSpec), ("status", RunStatus)):
        schema = model.model_json_schema(by_alias=True)
        found |= {name, *_paths(schema, name, schema.get("$defs", {}))}
    return frozenset(found)


def served_fields(document: Mapping[str, Any]) -> frozenset[str]:
    """Returns the same of an OpenAPI v3 document of the API group; empty if it does not have the kind."""
    for schema in document.get("components", {}).get("schemas", {}).values():
        kinds = schema.get("x-kubernetes-group-version-kind", ())
        if any((kind.get("group"), kind.get("kind")) == (GROUP, KIND) for kind in kinds):
            parts = {name: part for name, part in schema["properties"].items() if name in ("spec", "status")}
            return frozenset(_paths({"properties": parts}, "", {}))
    return frozenset()


def describe_difference(known: frozenset[str], served: frozenset[str]) -> str:
    """Returns what differs, and what to do about it; empty if nothing does."""
    crd, sentences = f"the CRD {PLURAL}.{GROUP}", []
    if known - served:
        sentences.append(
            f"{crd} lacks {_name(known - served)}, which the API server drops from every run: apply the CRD of release "
            f"{__version__} (kubectl apply --server-side --force-conflicts -f crds/{GROUP}_{PLURAL}.yaml, or the chart "
            f"with crds.enabled=true)"
        )
    if served - known:
        sentences.append(
            f"{crd} has {_name(served - known)}, which this operator, {__version__}, does not know and ignores: "
            f"upgrade the operator"
        )
    return "; ".join(sentences)


def _name(fields: frozenset[str]) -> str:
    """Names fields, those of a block that is among them by the block alone."""
    topmost = sorted(field for field in fields if not any(above in fields for above in _above(field)))
    more = len(topmost) - NAMED_AT_MOST
    return ", ".join(topmost[:NAMED_AT_MOST]) + (f" and {more} more fields" if more > 0 else "")


def _above(field: str) -> Iterator[str]:
    """Yields the blocks that a field is in."""
    while "." in field:
        field = field.rpartition(".")[0]
        yield field.removesuffix("[]")


def _paths(node: Mapping[str, Any], path: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    """Yields the paths of all fields below a node of a schema, of pydantic's or of OpenAPI's."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    for branch in node.get("anyOf", ()):
        yield from _paths(branch, path, definitions)
    if "items" in node:
        yield from _paths(node["items"], f"{path}[]", definitions)
    for name, child in node.get("properties", {}).items():
        for each in (name, child.get(FORMER_NAME, name)):
            here = f"{path}.{each}".lstrip(".")
            yield here
            yield from _paths(child, here, definitions)

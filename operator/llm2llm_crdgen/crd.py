"""Generates the CustomResourceDefinition from the typed models, so that the two cannot disagree.

pydantic's JSON schema becomes a structural schema (references inlined, optional fields without a null branch) with
defaults, and what only CEL can express is added: fields that define the experiment do not change, names fit into Job
names, and users cannot set environment variables that are ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import WithDefaultSchema

from llm2llm import __version__
from llm2llm.api.base import TEXT_LIMIT_MARK, Model
from llm2llm.api.forms import RULES_MARK
from llm2llm.api.run import GROUP, KIND, NAME_LIMIT, PLURAL, VERSION, AugmentationRunSpec, identity_paths
from llm2llm.kubeyaml import dump
from llm2llm.records import digest_of
from llm2llm_crdgen import textlimit
from llm2llm_operator.constants import OPERATOR
from llm2llm_operator.model.status import FORMER_NAME, RunStatus

SIZE_LIMIT = 200_000
"""Bytes as JSON: client-side apply keeps a copy in an annotation, and annotations are limited to 256 KiB."""
ANNOTATION_DIGEST = f"{GROUP}/crd-digest"
"""Of the CRD: a digest of its `spec`, by which two CRDs are compared without reading them."""
KEPT = ("type", "description", "enum", "default", "minimum", "maximum", "minLength", "maxLength", "maxItems")
OF_KUBERNETES = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys")
PRINTER_COLUMNS = (
    ("Phase", "string", ".status.phase", 0),
    ("Stage", "string", ".status.currentStep.stage", 0),
    ("Iteration", "integer", ".status.currentIteration", 0),
    ("Accuracy", "string", ".status.summary.accuracy", 0),
    ("Mistakes", "string", ".status.summary.mistakes", 0),
    ("Cost", "string", ".status.summary.cost", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Message", "string", ".status.message", 1),
)


def custom_resource_definition() -> dict[str, Any]:
    """Builds the whole CRD."""
    spec = structural(AugmentationRunSpec)
    for path in identity_paths():
        _add_transition_rule(spec, path)
    status = structural(RunStatus, defaults=False)
    status.pop("required", None)
    root = {
        "type": "object",
        "description": (
            "LLM2LLM: fine-tune a student model, find its mistakes, let a teacher model write more examples like "
            "them, and repeat."
        ),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec
            | {
                "description": (
                    "The experiment: which student learns which task from which data, with which teacher, and within "
                    "which limits. Fields that define the experiment cannot be changed; create another run instead."
                )
            },
            "status": status | {"description": "The observed state of the run; written by the operator only."},
        },
        "x-kubernetes-validations": [
            {
                "rule": f"self.metadata.name.size() <= {NAME_LIMIT} && !self.metadata.name.contains('.')",
                "message": f"metadata.name must be a DNS label of at most {NAME_LIMIT} characters, without a dot",
            }
        ],
    }
    columns = [
        {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
        for name, kind, path, priority in PRINTER_COLUMNS
    ]
    definition = {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "kind": KIND,
            "listKind": f"{KIND}List",
            "plural": PLURAL,
            "singular": KIND.lower(),
            "shortNames": ["arun"],
            "categories": ["llm2llm"],
        },
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": root},
            }
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "labels": {"app.kubernetes.io/name": OPERATOR, "app.kubernetes.io/version": __version__},
            "annotations": {ANNOTATION_DIGEST: digest_of(definition)},
        },
        "spec": definition,
    }


def structural(model: type[BaseModel], *, defaults: bool = True) -> dict[str, Any]:
    """Returns a model's structural schema (Kubernetes API conventions: no $ref, no null, no anyOf).

    Args:
        model: the pydantic model.
        defaults: whether to include defaults and rules; a status has none, since the operator writes all of it. Items
            of lists never have defaults: GitOps tools compare lists as a whole, and would see a difference forever.
    """
    whole = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_WithFactories)
    return _structural(whole, whole.get("$defs", {}), defaults=defaults, rules=defaults)


class _WithFactories(GenerateJsonSchema):
    """Adds the defaults that a factory makes, which pydantic leaves out, so that the API server fills them in, too."""

    def get_default_value(self, schema: WithDefaultSchema) -> Any:
        """Returns the default, calling the factory if there is one."""
        factory = schema.get("default_factory")
        return factory() if factory else super().get_default_value(schema)  # type: ignore[call-arg]


def _structural(node: dict[str, Any], definitions: dict[str, Any], *, defaults: bool, rules: bool) -> dict[str, Any]:
    node = _resolve(node, definitions)
    schema = {name: node[name] for name in (*KEPT, *OF_KUBERNETES) if name in node and (defaults or name != "default")}
    if "const" in node:
        schema["enum"] = [node["const"]]
    if not schema.get("default", True) and schema.get("type") in ("object", "array"):
        del schema["default"]  # an empty list or map needs no default
    match node.get("type"):
        case "object":
            schema |= _object(node, schema, definitions, defaults=defaults, rules=rules)
            if "properties" in node and not node.get("described"):
                schema.pop("description", None)  # a model's docstring is for programmers
        case "array":
            schema["items"] = _structural(node["items"], definitions, defaults=False, rules=rules)
        case "integer":
            schema["format"] = "int64"
    if RULES_MARK in node and rules:
        schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", []), *node[RULES_MARK]]
    if TEXT_LIMIT_MARK in node and rules:
        textlimit.add_rule(schema, node[TEXT_LIMIT_MARK])
    return schema


def _object(
    node: dict[str, Any], schema: dict[str, Any], definitions: dict[str, Any], *, defaults: bool, rules: bool
) -> dict[str, Any]:
    """Returns the schema of a model or of a map."""
    if "properties" not in node:
        return _map(node, definitions, defaults=defaults, rules=rules)
    properties = {
        name: _structural(child, definitions, defaults=defaults, rules=rules)
        for name, child in node["properties"].items()
    }
    for name, child in node["properties"].items():
        if FORMER_NAME in child:
            properties[child[FORMER_NAME]] = properties[name] | {
                "description": f"Former name of {name}; still read, but no longer written."
            }
    own_rules = cel_rules(node.get("title", "")) if rules else None
    return {
        **({"default": {}} if "default" in schema else {}),  # its fields have their own defaults
        "properties": properties,
        **({"required": node["required"]} if node.get("required") else {}),
        **({"x-kubernetes-validations": own_rules} if own_rules else {}),
    }


def cel_rules(model: str) -> list[dict[str, str]]:
    """Returns the CEL rules of an API model, by its name, because pydantic's schema has only the name of a model."""
    models = {each.__name__: each for each in _subclasses(Model)}
    return [rule.document() for rule in models[model].cel_rules] if model in models else []


def _subclasses(model: type[Model]) -> Iterator[type[Model]]:
    for each in model.__subclasses__():
        yield each
        yield from _subclasses(each)


def _map(node: dict[str, Any], definitions: dict[str, Any], *, defaults: bool, rules: bool) -> dict[str, Any]:
    """Returns the schema of a map. A structural schema cannot limit the names in a map, so a CEL rule does."""
    values = node.get("additionalProperties", {"type": "string"})
    schema: dict[str, Any] = {"additionalProperties": _structural(values, definitions, defaults=defaults, rules=rules)}
    if "maxProperties" in node:
        schema["maxProperties"] = node["maxProperties"]
    longest = node.get("propertyNames", {}).get("maxLength")
    if longest and rules:
        rule = f"self.all(name, name.size() <= {longest})"
        schema["x-kubernetes-validations"] = [
            {"rule": rule, "message": f"names must have at most {longest} characters"}
        ]
    return schema


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follows a reference and takes the non-null branch of an optional field; the field's own keywords win."""
    own = {name: value for name, value in node.items() if name not in ("$ref", "anyOf", "allOf")}
    if own.get("default", ...) is None:
        del own["default"]
    if "description" in own:
        own["described"] = True
    if "anyOf" in node:
        branch = next(option for option in node["anyOf"] if option.get("type") != "null")
        return _resolve(branch, definitions) | own
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return _resolve({k: v for k, v in target.items() if k != "description"}, definitions) | own
    return node | own


def _add_transition_rule(spec: dict[str, Any], path: tuple[str, ...]) -> None:
    """Adds an immutability rule for the field at `path`, on the deepest block on its path that is always present.

    Not on the field itself: a transition rule is not evaluated when a value is added or removed. Not on the whole spec
    either: each step down a path costs the API server a table of all fields of the block that it leaves, at every write
    of the status, and these rules were a third of its work for one.
    """
    schemas: list[dict[str, Any]] = [spec]
    always: list[bool] = []
    for name in path:
        block = schemas[-1]
        # The API server also evaluates the rules on a block's own default, before it fills in the defaults of its
        # fields.
        filled_in = "default" in block["properties"][name] and "default" not in block
        always.append(filled_in or name in block.get("required", ()))
        schemas.append(block["properties"][name])
    depth = next((depth for depth, present in enumerate(always[:-1]) if not present), len(path) - 1)
    rule = {
        "rule": _immutability_rule(path[depth:], always[depth:]),
        "message": f"spec.{'.'.join(path)} defines the experiment and cannot change: create another run",
    }
    schemas[depth]["x-kubernetes-validations"] = [*schemas[depth].get("x-kubernetes-validations", []), rule]


def _immutability_rule(path: tuple[str, ...], always: list[bool]) -> str:
    """Returns the CEL rule that the field at a path has not changed; `always`: whether each part is always present.

    It uses `has`, because the API server cannot bound the cost of `.?`.
    """
    rule = f"self.{'.'.join(path)} == oldSelf.{'.'.join(path)}"
    for length in range(len(path), 0, -1):
        if not always[length - 1]:
            now, before = (f"{version}.{'.'.join(path[:length])}" for version in ("self", "oldSelf"))
            rule = f"has({now}) == has({before}) && (!has({now}) || {rule})"
    return rule


def main() -> int:
    """Writes the CRD to the given files (`make verify` compares them with the committed ones)."""
    document = custom_resource_definition()
    size = len(json.dumps(document))
    if size > SIZE_LIMIT:
        print(f"the CRD has {size} bytes, more than {SIZE_LIMIT}", file=sys.stderr)
        return 1
    text = "# Generated from images/llm2llm/api/ by `make generate`: change it there.\n"
    text += dump(document, width=120)
    for path in sys.argv[1:]:
        Path(path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

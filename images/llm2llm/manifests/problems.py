"""Reports all problems of an AugmentationRun together, each with its path: `spec.train.lora.r: must be at least 1`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from llm2llm.api import run as api
from llm2llm.api.base import AS_WRITTEN
from llm2llm.api.forms import OTHER_FORM
from llm2llm.errors import InvalidManifest
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stages import STAGES
from llm2llm.loop.steps import parents
from llm2llm.manifests.hints import correction, fields_of, known_field, whole_number
from llm2llm.records import Paired, Stage, StepDocument, digest_of
from llm2llm.runtime.masking import without_credentials

_RESERVED = "LLM2LLM_"
_NAMESPACE_LIMIT = 63
_SHOWN = 300
"""Maximum characters of a value in a message."""
_BLOCKS_WITH_ENV = ("prepare", "train", "evaluate", "generate", "pod_overrides")
_METADATA = frozenset(
    (
        *("annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers"),
        *("generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences"),
        *("resourceVersion", "selfLink", "uid"),
    )
)
"""Fields of every object's metadata (Kubernetes ObjectMeta); the API server rejects others, too."""


def validate_spec(document: Mapping[str, Any]) -> api.AugmentationRunSpec:
    """Returns the typed spec of an AugmentationRun.

    Raises:
        InvalidManifest: with all problems of the document.
    """
    problems = [*_outer_problems(document)]
    spec: api.AugmentationRunSpec | None = None
    try:
        # Strict, and as JSON, as the API server does: there "8" is not a number and 8 is not a string.
        text = json.dumps(_as_sent(document.get("spec", {})), default=str)
        # Stored specs are read tolerantly, but in what a user wrote an unknown field is a typo.
        spec = api.AugmentationRunSpec.model_validate_json(
            text, strict=True, extra="forbid", context=AS_WRITTEN, by_alias=True, by_name=False
        )
    except ValidationError as error:
        problems += [f"{_path(item['loc'])}: {_sentence(item)}" for item in error.errors(include_url=False)]
    if spec is not None:
        problems += _reserved_names(spec)
    if problems or spec is None:
        raise InvalidManifest(problems)
    return spec


def _as_sent(value: Any) -> Any:
    """Normalizes a document as the API server does: drops fields that are null, and reads 5.0 as the number 5."""
    if isinstance(value, dict):
        return {name: _as_sent(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_as_sent(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _outer_problems(document: Mapping[str, Any]) -> Iterator[str]:
    if document.get("apiVersion") != api.API_VERSION:
        yield f"apiVersion: must be {api.API_VERSION}, not {document.get('apiVersion')!r}"
    for unknown in sorted(map(str, document.keys() - {"apiVersion", "kind", "metadata", "spec", "status"})):
        belongs_to_spec = unknown in fields_of(api.AugmentationRunSpec)
        yield f"{unknown}: unknown field" + (f": did you mean spec.{unknown}?" if belongs_to_spec else "")
    metadata = document.get("metadata")
    for unknown in sorted(map(str, metadata.keys() - _METADATA)) if isinstance(metadata, dict) else ():
        yield f"metadata.{unknown}: unknown field"
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        yield "metadata.name: is required"
    elif len(name) > api.NAME_LIMIT or not re.fullmatch(api.NAME_PATTERN, name):
        yield (
            f"metadata.name: must be a DNS label of at most {api.NAME_LIMIT} characters: only a-z, 0-9 and -, no "
            "dots, starting and ending with a letter or digit"
        )
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    if namespace and not (
        isinstance(namespace, str) and len(namespace) <= _NAMESPACE_LIMIT and re.fullmatch(api.NAME_PATTERN, namespace)
    ):
        yield f"metadata.namespace: must be a DNS label of at most {_NAMESPACE_LIMIT} characters, not {namespace!r}"
    if "spec" not in document:
        yield "spec: is required"


def _reserved_names(spec: api.AugmentationRunSpec) -> Iterator[str]:
    for block in _BLOCKS_WITH_ENV:
        for index, variable in enumerate(getattr(spec, block).env):
            if variable.name.startswith(_RESERVED):
                yield f"spec.{to_camel(block)}.env[{index}].name: names that start with {_RESERVED} are reserved"


def check_size(spec: api.AugmentationRunSpec, name: str, namespace: str) -> None:
    """Checks that every step document of a run is within its limit: in a cluster, a run with a larger one fails there.

    Raises:
        InvalidManifest: one is not. Without a cluster a step has no such limit.
    """
    digest, pair = digest_of({}), Paired(against=0, dataset="evaluation", examples=1, gained=0, lost=0)
    steps = [StepId(Stage.PREPARE)]
    stages = [stage for stage, traits in STAGES.items() if traits.per_iteration]
    steps += [StepId(stage, number) for number in range(spec.max_iterations) for stage in stages]
    outcomes = [StepResult(step, digest, paired=pair) for step in steps]
    step = max(steps, key=lambda step: len(parents(spec, step, outcomes)))
    document = StepDocument(
        stage=step.stage,
        iteration=step.iteration,
        namespace=namespace,
        run=name,
        run_uid=str(UUID(int=0)),
        spec=spec.model_dump(mode="json", by_alias=True, exclude_none=True),  # with the defaults, as in a cluster
        parents=parents(spec, step, outcomes),
    )
    try:
        document.to_environment()
    except ValueError as error:
        raise InvalidManifest([f"spec: in a cluster, {error}"]) from None


def _path(location: tuple[int | str, ...]) -> str:
    path = "spec"
    for part in location:
        if part != "[key]":
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _sentence(item: Mapping[str, Any]) -> str:
    """Describes a problem in words for people who write YAML."""
    given, limits = item.get("input"), item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return f"unknown field{known_field(item['loc'])}"
        case "string_type" if isinstance(given, bool):
            return "must be a string: put it in quotes, because YAML reads yes, no, on, off, true and false as booleans"
        case "string_type":
            return f'must be a string: write "{given}"' if isinstance(given, int | float) else "must be a string"
        case kind if kind == OTHER_FORM:
            if _may_be_secret(item["loc"]):
                return str(limits["message"])
            hint = correction(str(given), limits["pattern"])
            return without_credentials(f"{limits['message']}, not {_shown(given)}{hint}")
        case kind if kind in _WHOLE_NUMBER:
            return f"must be a whole number, not {_shown(given)}{whole_number(given)}"
        case kind if kind in _SENTENCES:
            return _SENTENCES[kind].format(given=_shown(given), **limits)
        case _:
            return str(item["msg"]).removeprefix("Value error, ")


def _shown(given: object) -> str:
    """Returns what was written as Python writes it, and of a long one its beginning."""
    text = repr(given)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _may_be_secret(location: tuple[int | str, ...]) -> bool:
    """Returns whether what was written there may be a key, in place of the name of its Secret."""
    return any("secret" in str(part).lower() for part in location)


_WHOLE_NUMBER = ("int_type", "int_parsing", "int_from_float")
_SENTENCES = {
    "missing": "is required",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "literal_error": "must be {expected}",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "must not be empty",
    "too_long": "has more than {max_length} entries",
}

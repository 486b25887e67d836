"""`run.json`: what a folder of artifacts has been computed with, and whether a manifest still means the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from llm2llm.api.base import dump_identity, first_default
from llm2llm.api.run import AugmentationRunSpec, identity_paths, model_in
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.records import Record, canonical_json

RECORD = "run.json"


class RunRecord(Record):
    """The run that a folder of artifacts belongs to; the local counterpart of the object in a cluster.

    Attributes:
        spec: the whole spec, with the defaults of the release that began the run.
        given: the fields of it that the user wrote; None in a record of the first release.
    """

    name: str
    namespace: str
    uid: str
    settings: tuple[str, ...] = ()
    spec: dict[str, Any]
    given: dict[str, Any] | None = None


def given_fields(spec: AugmentationRunSpec) -> dict[str, Any]:
    """Returns the fields that the user wrote."""
    given: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return given


def keep_defaults(spec: AugmentationRunSpec, record: RunRecord) -> AugmentationRunSpec:
    """Returns a spec with the defaults that its run began with, which may differ from those of this release.

    Only fields that the user writes neither now nor then have them; a field that was removed from the manifest is a
    change.

    Raises:
        IncompatibleArtifacts: together they are no valid spec.
    """
    if record.given is None:
        return spec
    document = _fill_in(AugmentationRunSpec, given_fields(spec), record.given, record.spec)
    try:
        return AugmentationRunSpec.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(("spec", *map(str, problem["loc"])))
        raise IncompatibleArtifacts(
            f"the manifest is inconsistent with what {RECORD} says that the run began with ({place}: "
            f"{problem['msg']}): use another --workdir, or restore the manifest"
        ) from error


def _fill_in(
    model: type[BaseModel], now: Mapping[str, Any], then: Mapping[str, Any], recorded: Mapping[str, Any]
) -> dict[str, Any]:
    filled = dict(now)
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if alias not in recorded and alias not in now and alias not in then and first_default(field) is not None:
            filled[alias] = first_default(field)
        if alias not in recorded or (alias in then and alias not in now):
            continue
        part = model_in(field.annotation)
        if part and isinstance(recorded[alias], dict):
            filled[alias] = _fill_in(part, now.get(alias) or {}, then.get(alias) or {}, recorded[alias])
        elif alias not in now:
            filled[alias] = recorded[alias]
    return filled


def changed_fields(record: RunRecord, spec: AugmentationRunSpec) -> list[str]:
    """Returns the fields that define the experiment and differ, with both values, except the artifacts' location."""
    now = dump_identity(spec)
    changed = []
    for path in identity_paths():
        if path[0] != "artifacts":
            changed += _differences(_value_at(record.spec, path), _value_at(now, path), ".".join(("spec", *path)))
    return changed


def _differences(before: Any, now: Any, path: str) -> list[str]:
    """Returns the leaves that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(before.keys() | now.keys())
        return [leaf for name in names for leaf in _differences(before.get(name), now.get(name), f"{path}.{name}")]
    return [] if before == now else [f"{path} was {canonical_json(before)}, is now {canonical_json(now)}"]


def _value_at(spec: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = spec
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value

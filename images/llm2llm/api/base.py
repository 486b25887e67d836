"""Defines the basic types of the API: the base model, bounded strings, and the mark of a field that cannot change."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from llm2llm.api.forms import ClusterRule, Form

Fraction = Annotated[
    str,
    StringConstraints(max_length=11),
    Form(r"0(\.[0-9]{1,9})?|1(\.0{1,9})?", 'must be a decimal number from 0 to 1 in quotes, such as "0.2"'),
]
PositiveDecimal = Annotated[
    str,
    StringConstraints(max_length=30),
    Form(
        r"[0-9]{1,9}(\.[0-9]{1,12})?([eE]-?[0-9]{1,2})?",
        'must be a decimal number without a sign, in quotes, such as "0.0002" or "2e-4"',
    ),
]
Decimals = Annotated[
    str,
    StringConstraints(max_length=16),
    Form(
        r"[0-9]{1,9}(\.[0-9]{1,6})?",
        'must be a decimal number without a sign, a unit or an exponent, in quotes, such as "2.50"',
    ),
]
"""Money or hours, which a float would not represent exactly."""
AS_WRITTEN = {"as written": True}
"""Validation context of a spec that a user has just written. A rule that came after the first release is asked of such
a spec alone: a stored one was accepted without it, and no upgrade may end its run."""
NAMES_NO_FILE = "must name one file of the dataset: hf://owner/dataset/path/of/the/file"


def is_as_written(info: ValidationInfo) -> bool:
    """Returns whether a user has just written what is validated (AS_WRITTEN), so that all rules hold for it."""
    return info.context is AS_WRITTEN


def _check_dataset_file(uri: str, info: ValidationInfo) -> str:
    if is_as_written(info) and re.fullmatch(r"hf://(datasets/)?[^/]+/[^/]*/?", uri):
        raise ValueError(NAMES_NO_FILE)
    return uri


_NOT_IN_A_CLUSTER = ClusterRule(
    "!self.startsWith('file://')",
    "a pod has no files of your machine, so file:// is for `llm2llm run` alone: in a cluster use s3:// or pvc://",
)
RowsUri = Annotated[
    str,
    StringConstraints(max_length=1024),
    Form(
        r"(s3|hf|pvc|configmap|file)://.+",
        "must be a URI that begins with s3://, hf://, pvc://, configmap:// or file://",
    ),
    _NOT_IN_A_CLUSTER,
    AfterValidator(_check_dataset_file),
]
ModelUri = Annotated[
    str,
    StringConstraints(max_length=1024),
    Form(r"(hf|s3|pvc|file)://.+", "must be a URI that begins with hf://, s3://, pvc:// or file://"),
    _NOT_IN_A_CLUSTER,
]
FolderUri = Annotated[
    str,
    StringConstraints(max_length=1024),
    Form(r"(s3|pvc|file)://.+", "must be a URI that begins with s3://, pvc:// or file://"),
    _NOT_IN_A_CLUSTER,
]
"""A location that can be written to."""
Temperature = Annotated[
    str,
    StringConstraints(max_length=8),
    Form(r"[01](\.[0-9]{1,6})?|2(\.0{1,6})?", 'must be a decimal number from 0 to 2 in quotes, such as "0.7"'),
]
"""0 to 2, as in the OpenAI API."""
ShortText = Annotated[str, StringConstraints(max_length=253)]
OBJECT_NAME = "must be the name of an object: only a-z, 0-9, - and ., starting and ending with a letter or digit"
SecretName = Annotated[
    str, StringConstraints(max_length=253), Form(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", OBJECT_NAME, quoted=False)
]
ArtifactsKey = Annotated[
    str,
    StringConstraints(max_length=128),
    Form(
        r"([A-Za-z0-9][-A-Za-z0-9_.]{0,127})?",
        "must be the name of a folder: only letters, digits, -, _ and ., starting with a letter or digit",
    ),
]
Quantity = Annotated[
    str,
    StringConstraints(max_length=32),
    Form(
        r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?",
        'must be a quantity as Kubernetes writes it, such as "2", "500m" or "16Gi"',
    ),
]

MONTH = 31 * 24 * 3600
"""Seconds; the longest deadline of a step."""

IDENTITY: dict[str, Any] = {"x-llm2llm-identity": True}
_FIRST_DEFAULT = "x-llm2llm-first-default"


def added_later(first_default: Any) -> dict[str, Any]:
    """Returns the mark of an identity field that was added after the first release.

    Content keys and run.json leave such a field out while it has its first default, so that the release that adds it
    finds what earlier ones have computed. If its default ever changes, the first one stays here.

    Args:
        first_default: its default, as JSON has it, in the release that added it.
    """
    return {**IDENTITY, _FIRST_DEFAULT: first_default}


@dataclass(frozen=True)
class CelRule:
    """A validation rule of the CRD: the API server rejects at apply what a validator rejects locally.

    It is next to the validator that it mirrors and has the same message.

    Attributes:
        rule: in CEL; `self` is the object that the model describes.
        message: shown to the user.
        field_path: of the invalid field, relative to the object.
    """

    rule: str
    message: str
    field_path: str = ""

    def document(self) -> dict[str, str]:
        """Returns the entry of `x-kubernetes-validations`."""
        entry = {"rule": self.rule, "message": self.message}
        return entry | ({"fieldPath": self.field_path} if self.field_path else {})


TEXT_LIMIT = "must hold at most {} characters in all"
TEXT_LIMIT_MARK = "x-llm2llm-text-limit"
"""In the JSON schema; the CRD's generator turns it into a CEL rule."""


@dataclass(frozen=True)
class TextLimit:
    """Limits the characters in all texts of a list, a map or a block: an annotation of its type.

    Attributes:
        limit: maximum number of characters, those of a map's names included.
    """

    limit: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Adds the check to the type's own validation."""
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds the mark for the CRD's generator."""
        return {**handler(schema), TEXT_LIMIT_MARK: self.limit}

    def _check(self, value: Any, info: ValidationInfo) -> Any:
        if is_as_written(info) and _characters(value) > self.limit:
            raise ValueError(TEXT_LIMIT.format(self.limit))
        return value


def _characters(value: Any) -> int:
    """Returns the number of characters in all texts of a value, as a user wrote it: without defaults."""
    if isinstance(value, BaseModel):
        return sum(_characters(getattr(value, name)) for name in value.model_fields_set)
    if isinstance(value, dict):
        return sum(len(name) + _characters(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_characters, value))
    return len(value) if isinstance(value, str) else 0


class Model(BaseModel):
    """Base of the API's types: camelCase in JSON, frozen once read.

    Unknown fields are ignored: a stored spec may come from a newer release, and its new fields must not fail the runs
    of an older operator or image. Code that validates a user's input rejects them (`extra="forbid"` at that call).
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", allow_inf_nan=False
    )
    cel_rules: ClassVar[tuple[CelRule, ...]] = ()


def dump_identity(model: BaseModel, *, exclude: Collection[str] = (), exclude_none: bool = True) -> dict[str, Any]:
    """Returns a model as JSON in which equal experiments of all releases are equal.

    All defaults are written out, as the first release did, except those of fields that were added later.
    """
    dumped = model.model_dump(mode="json", by_alias=True, exclude_none=exclude_none, exclude=set(exclude))
    return _without_first_defaults(model, dumped)


def first_default(field: FieldInfo) -> Any:
    """Returns the default of a field in the release that added it; None if it was there from the beginning."""
    marks = field.json_schema_extra
    return marks.get(_FIRST_DEFAULT) if isinstance(marks, dict) else None


def _without_first_defaults(model: BaseModel, dumped: dict[str, Any]) -> dict[str, Any]:
    kept = dict(dumped)
    for name, field in type(model).model_fields.items():
        alias, value = field.alias or name, getattr(model, name)
        if alias not in kept:
            continue
        if isinstance(value, BaseModel):
            kept[alias] = _without_first_defaults(value, kept[alias])
        elif isinstance(value, list) and all(isinstance(item, BaseModel) for item in value):
            pairs = zip(value, kept[alias], strict=True)
            kept[alias] = [_without_first_defaults(item, document) for item, document in pairs]
        if kept[alias] == first_default(field):
            del kept[alias]
    return kept


class SecretReference(Model):
    name: SecretName = Field(description="Name of a Secret in the run's namespace.")


class CaBundleReference(Model):
    name: SecretName = Field(description="Name of a ConfigMap in the run's namespace.")
    key: ShortText = Field(
        "ca.crt", min_length=1, description="Key in the ConfigMap that holds the CA certificates, in PEM format."
    )


class SecretKeyReference(Model):
    name: SecretName = Field(description="Name of a Secret in the run's namespace.")
    key: ShortText = Field(min_length=1, description="Key in the Secret.")

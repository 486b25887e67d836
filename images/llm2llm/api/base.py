"""Defines the basic types of the API: the base model, bounded strings, and the mark of a field that cannot change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Fraction = Annotated[str, StringConstraints(pattern=r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$", max_length=11)]
PositiveDecimal = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?([eE]-?[0-9]{1,2})?$", max_length=30)
]
Decimals = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$", max_length=16)]
"""Money or hours, which a float would not represent exactly."""
RowsUri = Annotated[str, StringConstraints(pattern=r"^(s3|hf|pvc|configmap|file)://.+$", max_length=1024)]
ModelUri = Annotated[str, StringConstraints(pattern=r"^(hf|s3|pvc|file)://.+$", max_length=1024)]
FolderUri = Annotated[str, StringConstraints(pattern=r"^(s3|pvc|file)://.+$", max_length=1024)]
"""A location that can be written to."""
Temperature = Annotated[str, StringConstraints(pattern=r"^([01](\.[0-9]{1,6})?|2(\.0{1,6})?)$", max_length=8)]
"""0 to 2, as in the OpenAI API."""
ShortText = Annotated[str, StringConstraints(max_length=253)]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
ArtifactsKey = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][-A-Za-z0-9_.]{0,127})?$", max_length=128)]
Quantity = Annotated[
    str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$", max_length=32)
]

MONTH = 31 * 24 * 3600
"""Seconds; the longest deadline of a step."""

IDENTITY: dict[str, Any] = {"x-llm2llm-identity": True}


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


class Model(BaseModel):
    """Base of the API's types: camelCase in JSON, frozen once read.

    Unknown fields are ignored: a stored spec may come from a newer release, and its new fields must not fail the runs
    of an older operator or image. Code that validates a user's input rejects them (`extra="forbid"` at that call).
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", allow_inf_nan=False
    )
    cel_rules: ClassVar[tuple[CelRule, ...]] = ()


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

"""The bounded strings of the API at their ends, and what every document has in common."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from llm2llm.api import base


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        pytest.param(
            base.Fraction, ["0", "1", "1.0", "0.5", "0.123456789"], ["", "1.1", "2", "-0.1", ".5", "0.", "00", "5e-1", "0.1234567890"],
            id="a fraction is from 0 to 1",
        ),
        pytest.param(
            base.PositiveDecimal, ["2e-4", "1.0", "0", "1E-05", "1e2", "123456789.5"], ["-1", "+1", "1e", "e4", "1e+4", "1e-400", "inf", "nan"],
            id="a learning rate may have an exponent",
        ),
        pytest.param(
            base.Decimals, ["0", "0.15", "123456789.123456"], ["-1", "1e3", "1.1234567", "1234567890", "1,000", "$1"],
            id="money has six decimals",
        ),
        pytest.param(
            base.Temperature, ["0", "0.7", "1.999999", "2", "2.0"], ["2.1", "3", "-0.1", "0.1234567", "hot"],
            id="a temperature is from 0 to 2",
        ),
        pytest.param(
            base.RowsUri, ["s3://b/x", "hf://o/d/x", "pvc://c/x", "configmap://n/k", "file:///x"], ["/x", "s3://", "http://h/x", "S3://b/x"],
            id="rows are read from five places",
        ),
        pytest.param(base.ModelUri, ["hf://o/m", "s3://b/m"], ["configmap://n/k", "o/m"], id="a model from four"),
        pytest.param(base.FolderUri, ["s3://b", "pvc://c/x"], ["hf://o/d", "configmap://n/k"], id="and three are written to"),
        pytest.param(base.SecretName, ["a", "a-b.c9"], ["", "A", "-a", "a-", "a_b", "a" * 254], id="a Secret's name"),
        pytest.param(base.ArtifactsKey, ["", "r-1_2.3", "A" * 128], ["-a", ".a", "a/b", "A" * 129], id="a folder's name"),
        pytest.param(
            base.Quantity, ["1", "0.5", "500m", "16Gi", "2T"], ["", "1.", "-1", "1gi", "1 Gi", "16GB", "one"],
            id="a quantity is written as Kubernetes writes it",
        ),
    ],
)  # fmt: skip
def test_the_ends_of_a_bounded_string(kind: Any, taken: list[str], refused: list[str]):
    adapter = TypeAdapter[str](kind)

    def is_taken(text: str) -> bool:
        try:
            return adapter.validate_python(text) == text
        except ValidationError:
            return False

    assert [text for text in taken if not is_taken(text)] == []
    assert [text for text in refused if is_taken(text)] == []


class Sample(base.Model):
    some_field: float = Field(0)


def test_a_document_is_camel_case_outside_and_snake_case_inside_and_cannot_change():
    sample = Sample.model_validate({"someField": 1.5})
    assert sample.some_field == 1.5
    assert sample.model_dump(by_alias=True) == {"someField": 1.5}
    with pytest.raises(ValidationError, match="frozen"):
        sample.some_field = 2  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_is_finite(value: float):
    with pytest.raises(ValidationError, match="finite"):
        Sample(some_field=value)


def test_a_rule_of_a_whole_object_has_no_path():
    assert base.CelRule("r", "m").document() == {"rule": "r", "message": "m"}
    assert base.CelRule("r", "m", ".f").document() == {"rule": "r", "message": "m", "fieldPath": ".f"}


class Inner(base.Model):
    rank: int = 8
    later: int = Field(1, json_schema_extra=base.added_later(1))


class Outer(base.Model):
    name: str = ""
    inner: Inner = Inner()
    items: list[Inner] = Field(default_factory=list)
    block: Inner = Field(Inner(), json_schema_extra=base.added_later({"rank": 8}))


def test_fault_57_a_field_that_was_added_later_is_left_out_while_it_has_its_first_default():
    assert base.dump_identity(Outer()) == {"name": "", "inner": {"rank": 8}, "items": []}
    full = Outer(inner=Inner(later=2), items=[Inner(), Inner(later=3)], block=Inner(rank=4))
    assert base.dump_identity(full) == {
        "name": "",
        "inner": {"rank": 8, "later": 2},
        "items": [{"rank": 8}, {"rank": 8, "later": 3}],
        "block": {"rank": 4},
    }
    assert base.dump_identity(full, exclude=frozenset({"inner", "items"})) == {"name": "", "block": {"rank": 4}}


@pytest.mark.parametrize(
    "uri", ["hf://owner/rows/a.csv", "hf://datasets/owner/rows/a.csv", "hf://owner/rows@v2/main/a.csv"]
)
def test_a_file_of_a_dataset_is_a_source(uri: str):
    assert TypeAdapter(base.RowsUri).validate_python(uri) == uri


@pytest.mark.parametrize(
    "uri", ["hf://owner/rows", "hf://datasets/owner/rows", "hf://owner/rows/", "hf://datasets/owner/rows/"]
)
def test_a_dataset_without_a_file_is_none(uri: str):
    with pytest.raises(ValidationError, match="must name one file of the dataset"):
        TypeAdapter(base.RowsUri).validate_python(uri, context=base.AS_WRITTEN)
    assert TypeAdapter(base.RowsUri).validate_python(uri) == uri  # as an earlier release has stored it


class Listed(base.Model):
    name: str
    value: str = "a default is not counted"


@pytest.mark.parametrize(
    ("kind", "value", "characters"),
    [
        (list[str], ["four", "five"], 8),
        (list[list[str]], [["a"], ["bc", ""]], 3),
        (dict[str, str], {"name": "value"}, 9),
        (list[Listed], [{"name": "four"}, {"name": "a", "value": "b"}], 6),
        (list[str], ["\N{GREEK SMALL LETTER ALPHA}\N{PILE OF POO}"], 2),
        (list[int], [1, 22], 0),
    ],
)
def test_a_text_limit_counts_all_characters_that_a_user_wrote(kind: Any, value: Any, characters: int):
    exactly = TypeAdapter(Annotated[kind, base.TextLimit(characters)])
    exactly.validate_python(value, context=base.AS_WRITTEN)
    if characters:
        less = TypeAdapter(Annotated[kind, base.TextLimit(characters - 1)])
        with pytest.raises(ValidationError, match=f"at most {characters - 1} characters in all"):
            less.validate_python(value, context=base.AS_WRITTEN)
        less.validate_python(value)  # a stored spec was accepted without the limit

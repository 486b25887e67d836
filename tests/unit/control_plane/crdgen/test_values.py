"""The page about the chart's values is what values.yaml and its schema say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm2llm_crdgen.values import Value, describe_type, documented_values, schema_at, values_reference

CHECKOUT = Path(__file__).resolve().parents[4]
CHART = CHECKOUT / "charts" / "llm2llm-operator"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES = list(documented_values((CHART / "values.yaml").read_text(), SCHEMA))


def test_the_committed_page_is_what_the_chart_says():
    assert (CHECKOUT / "docs" / "reference" / "values.md").read_text() == values_reference(CHART)


def test_every_value_has_a_comment_that_is_a_sentence():
    assert len(VALUES) > 40
    assert [value.path for value in VALUES if not value.comment.endswith(".")] == []


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The values that the schema has, but for the fields of Kubernetes' own types."""
    found: list[tuple[str, ...]] = []
    for name, node in schema["properties"].items():
        found += leaves(node, (*path, name)) if "properties" in node else [(*path, name)]
    return found


def test_the_schema_and_the_file_have_the_same_values():
    told = [value.path for value in VALUES if value.default is not None]
    assert sorted(told) == sorted(path for path in leaves(SCHEMA) if path != ("global",))


TEXT = """\
# A block
# of two lines.
image:
  # What | it is.
  tag: ""

  # Not of tag.

  keep: true
# Null.
group: null
# Whole.
selector: {a: b}
"""
SMALL = {
    "properties": {
        "image": {"type": "object", "properties": {"tag": {"type": "string"}, "keep": {"type": "boolean"}}},
        "group": {"type": ["integer", "null"]},
        "selector": {"$ref": "#/definitions/strings"},
    },
    "definitions": {"strings": {"type": "object"}},
}


def test_a_comment_belongs_to_the_key_directly_below_it():
    assert list(documented_values(TEXT, SMALL)) == [
        Value(("image",), None, "A block of two lines."),
        Value(("image", "tag"), "", "What | it is."),
        Value(("image", "keep"), True, ""),
        Value(("group",), "null", "Null."),
        Value(("selector",), {"a": "b"}, "Whole."),
    ]


def test_values_that_are_no_mapping_are_refused():
    with pytest.raises(TypeError, match="must be a mapping"):
        list(documented_values("[]", SMALL))


def test_a_row_has_the_default_as_yaml_has_it_and_a_bar_as_text(tmp_path: Path):
    (tmp_path / "values.yaml").write_text(TEXT)
    (tmp_path / "values.schema.json").write_text(json.dumps(SMALL))
    rows = values_reference(tmp_path).splitlines()[-5:]
    assert rows == [
        "| `image` | object |  | A block of two lines. |",
        "| `image.tag` | string | `''` | What \\| it is. |",
        "| `image.keep` | boolean | `true` |  |",
        "| `group` | integer or null | `null` | Null. |",
        "| `selector` | map of strings | `{a: b}` | Whole. |",
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("deployment.replicas", "integer, at least 1"),
        ("steps.fsGroup", "integer or null, 0 to 2147483647"),
        ("deployment.logFormat", "`json` \\| `text`"),
        ("imagePullPolicy", '`""` \\| `Always` \\| `IfNotPresent` \\| `Never`'),
        ("watchNamespaces", "list: string"),
        ("deployment.tolerations", "list: toleration of a pod spec"),
        ("images.train", "object or string"),
    ],
)
def test_a_type_is_told_in_a_few_words(path: str, words: str):
    assert describe_type(schema_at(SCHEMA, path.split(".")), SCHEMA) == words

"""What is written as YAML for people is read back as it was, by kubectl's rules and by PyYAML's."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from llm2llm.kubeyaml import dump
from llm2llm.manifests.kubectlyaml import load

texts = some.text(some.characters(exclude_categories=["Cs"]), max_size=40) | some.from_regex(
    r"\A[-+.0-9eEox_:~nNyY]{1,8}\Z"
)
documents = some.recursive(
    texts | some.integers(-(2**62), 2**62) | some.booleans() | some.none() | some.floats(-1e9, 1e9),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150)
@given(some.dictionaries(texts, documents, max_size=4))
def test_a_document_is_read_back_as_it_was(document: dict[str, Any]):
    written = dump(document)
    assert load(written) == document
    assert yaml.safe_load(written) == document


@pytest.mark.parametrize(
    "text", ["3e-3", "y", "N", "08", "0o17", "1e3", "1_000", "12:30", "2026-01-01", "~", "", "=", "<<", "on", ".5"]
)
def test_a_text_that_looks_like_another_value_is_quoted(text: str):
    assert dump([text]) == f"- '{text}'\n"


def test_a_text_is_written_as_plainly_as_it_can_be():
    shared = {"b": "two words"}
    assert dump({"name": "a", "other": shared, "more": shared, "of": "größer"}) == (
        "name: a\nother:\n  b: two words\nmore:\n  b: two words\nof: größer\n"
    )

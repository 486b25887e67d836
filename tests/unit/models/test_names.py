"""What a training calls its base model, for whoever loads the result."""

from __future__ import annotations

import pytest

from llm2llm.models.names import loadable_name


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        pytest.param("hf://Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", id="the id of the Hub"),
        pytest.param("hf://gpt2", "gpt2", id="an id without an owner"),
        pytest.param("file:///models/my%20model", "/models/my model", id="the path on this machine"),
        pytest.param("file://localhost/models/m/", "/models/m", id="of this machine by its name"),
        pytest.param("s3://bucket/gpt2", "s3://bucket/gpt2", id="a bucket's is not mistaken for one of the Hub"),
        pytest.param("pvc://claim/models/gpt2", "pvc://claim/models/gpt2", id="a claim's is not either"),
    ],
)
def test_a_base_has_the_name_that_transformers_knows_it_by(uri: str, name: str):
    assert loadable_name(uri) == name

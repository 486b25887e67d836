from __future__ import annotations

import sys

import pytest

from llm2llm.engines import engine_named
from llm2llm.errors import ConfigurationError


def test_an_engine_that_the_image_lacks_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llm2llm.engines.vllm", raising=False)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigurationError) as caught:
        engine_named("vLLM")
    assert "spec.evaluate.engine is vLLM, but this image cannot import it (" in caught.value.message
    assert caught.value.message.endswith("use the evaluator image, or set engine: Transformers")


def test_the_engine_without_vllm_is_there_without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert engine_named("Transformers").__name__ == "TransformersEngine"  # type: ignore[attr-defined]

"""What follows from the fields of a stage: engine, quantization, and whether adapters are trained."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm2llm.api.stages import Evaluate, Lora, Train

GPU = {"limits": {"nvidia.com/gpu": "1"}}


@pytest.mark.parametrize(
    ("block", "engine"),
    [
        pytest.param({}, "Transformers", id="without a GPU"),
        pytest.param({"resources": GPU}, "vLLM", id="with one"),
        pytest.param({"resources": GPU, "engine": "Transformers"}, "Transformers", id="unless another is chosen"),
        pytest.param({"engine": "vLLM"}, "vLLM", id="vLLM on a CPU, if that is wanted"),
    ],
)
def test_the_engine_is_decided_by_the_spec(block: dict[str, Any], engine: str):
    assert Evaluate.model_validate(block).resolved_engine() == engine


@pytest.mark.parametrize(("method", "quantization"), [("LoRA", "none"), ("QLoRA", "nf4"), ("Full", "none")])
def test_only_qlora_quantizes_the_base(method: str, quantization: str):
    assert Train.model_validate({"method": method}).quantization == quantization


@pytest.mark.parametrize(
    ("method", "lora", "taken"),
    [
        pytest.param("LoRA", {"r": 8}, True, id="an adapter has settings"),
        pytest.param("QLoRA", {"r": 8}, True, id="so has one on a quantized base"),
        pytest.param("Full", {}, True, id="all weights without them"),
        pytest.param(
            "Full", Lora().model_dump(by_alias=True), True, id="or with the defaults that the API server fills in"
        ),
        pytest.param("Full", {"alpha": 16}, False, id="a setting that nothing would use"),
    ],
)
def test_settings_of_an_adapter_are_refused_where_none_is_trained(method: str, lora: dict[str, Any], taken: bool):
    document = {"method": method, "lora": lora}
    if taken:
        assert Train.model_validate(document).method == method
    else:
        with pytest.raises(ValidationError, match="must not be set: method Full trains all weights"):
            Train.model_validate(document)

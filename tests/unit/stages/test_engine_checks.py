from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError
from llm2llm.models.info import ModelInfo
from llm2llm.stages.engine_checks import (
    FUSED_EXPERTS,
    STATE_SPACES,
    check_adapter,
    check_engine,
    check_heads,
    check_teacher,
)


def gpus(count: int) -> dict[str, Any]:
    return {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**changes))


def info(model_type: str, architecture: str = "") -> ModelInfo:
    return ModelInfo(context=64, heads=2, architectures=(architecture,), vocabulary=8, model_type=model_type)


def check_both(wanted: AugmentationRunSpec) -> None:
    check_engine(wanted)
    check_teacher(wanted)


LOCAL = {"mode": "Local", "teacher": {"model": "t", "source": {"uri": "hf://owner/teacher"}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"train": {"method": "QLoRA"}, "evaluate": {"engine": "vLLM", "precision": "fp32"}},
            "spec.evaluate.precision: vLLM evaluates QLoRA students only in bf16",
            id="QLoRA in fp32",
        ),
        pytest.param(
            {"evaluate": {"tensorParallelSize": 2, **gpus(1)}},
            "spec.evaluate.tensorParallelSize is 2, but spec.evaluate.resources requests 1 GPU: make them equal",
            id="more parts than GPUs",
        ),
        pytest.param(
            {"evaluate": {"tensorParallelSize": 2}},
            "the engine is Transformers, which uses one GPU",
            id="parts without vLLM",
        ),
        pytest.param(
            {"generate": LOCAL | {"tensorParallelSize": 4} | gpus(2)},
            "spec.generate.tensorParallelSize is 4, but spec.generate.resources requests 2 GPUs",
            id="a teacher in more parts than GPUs",
        ),
    ],
)
def test_what_does_not_go_together_is_told(changes: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError, match=words):
        check_both(spec(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"evaluate": {"tensorParallelSize": 2, **gpus(2)}},
        {"evaluate": {"engine": "vLLM", "tensorParallelSize": 2}},
        {"evaluate": gpus(4)},
        {"generate": LOCAL | {"tensorParallelSize": 2} | gpus(2)},
        {"train": {"method": "QLoRA"}, "evaluate": {"engine": "vLLM"}},
    ],
)
def test_what_goes_together_is_taken(changes: dict[str, Any]):
    check_both(spec(**changes))


def test_heads_are_shared_out_evenly():
    check_heads("spec.evaluate", 32, 4)
    check_heads("spec.evaluate", 0, 4)
    check_heads("spec.evaluate", None, 4)
    with pytest.raises(ConfigurationError, match=r"spec\.evaluate\.tensorParallelSize is 3, but the model's 32"):
        check_heads("spec.evaluate", 32, 3)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"evaluate": {"engine": "Transformers"}}, id="by Transformers"),
        pytest.param({"train": {"method": "Full"}, "evaluate": {"engine": "vLLM"}}, id="a whole student"),
    ],
)
def test_an_adapter_that_vllm_does_not_serve_is_refused_where_vllm_would_have_to(changes: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigurationError, match="vLLM cannot serve adapters for GPT2LMHeadModel: set engine: Transfor"
    ):
        check_adapter(spec(evaluate={"engine": "vLLM"}), info("gpt2", "GPT2LMHeadModel"))
    check_adapter(spec(evaluate={"engine": "vLLM"}), info("llama", "LlamaForCausalLM"))
    check_adapter(spec(**changes), info("gpt2", "GPT2LMHeadModel"))


@pytest.mark.parametrize("method", ["LoRA", "QLoRA"])
def test_a_mixture_of_experts_is_adapted_without_dropout_alone(method: str) -> None:
    with pytest.raises(ConfigurationError, match=r'spec\.train\.lora\.dropout is 0\.05, but must be "0" .*qwen3_moe'):
        check_adapter(spec(train={"method": method}), info("qwen3_moe"))
    check_adapter(spec(train={"method": method, "lora": {"dropout": "0"}}), info("qwen3_moe"))
    check_adapter(spec(train={"method": method}), info("gpt_oss"))
    check_adapter(spec(train={"method": "Full"}), info("qwen3_moe"))


@pytest.mark.parametrize("model_type", sorted(STATE_SPACES))
def test_a_state_space_model_is_trained_as_a_whole_alone(model_type: str) -> None:
    with pytest.raises(ConfigurationError, match=f"models of type {model_type} cannot be trained with an adapter"):
        check_adapter(spec(), info(model_type))
    check_adapter(spec(train={"method": "Full"}), info(model_type))


def test_the_tables_are_those_of_peft() -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
    from peft.utils import transformers_weight_conversion as conversion
    from torch import nn
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    fused = {
        name
        for name, kind in conversion.__dict__["_MODEL_TO_CONVERSION_PATTERN"].items()
        if conversion._MOE_FUSED_TARGETS.get(kind) and conversion._MOE_TARGET_MODULE_MAPPING.get(kind)
    }
    assert fused == FUSED_EXPERTS

    def refuses(model_type: str) -> bool:
        model = nn.Module()
        model.config = SimpleNamespace(model_type=model_type)  # type: ignore[assignment]
        try:
            _check_lora_target_modules_mamba(LoraConfig(target_modules="all-linear"), model, "out_proj")
        except ValueError:
            return True
        return False

    assert {name for name in CONFIG_MAPPING_NAMES if refuses(name)} == STATE_SPACES

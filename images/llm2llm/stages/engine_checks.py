"""PURE: checks, before the run waits for a GPU, that the engines can serve what the spec asks for."""

from __future__ import annotations

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError
from llm2llm.models.info import ModelInfo

WITHOUT_ADAPTERS = frozenset(
    {
        "BailingMoeV2_5ForCausalLM",
        "BailingMoeV3ForCausalLM",
        "BloomForCausalLM",
        "Cohere2MoeForCausalLM",
        "DbrxForCausalLM",
        "FalconForCausalLM",
        "FalconMambaForCausalLM",
        "GPT2LMHeadModel",
        "GPTJForCausalLM",
        "Gemma3nForCausalLM",
        "HrmTextForCausalLM",
        "IQuestLoopCoderForCausalLM",
        "Mamba2ForCausalLM",
        "MambaForCausalLM",
        "MiMoV2FlashForCausalLM",
        "MiMoV2ForCausalLM",
        "OrionForCausalLM",
        "StableLmForCausalLM",
        "Step1ForCausalLM",
        "Step3TextForCausalLM",
        "Step3p5ForCausalLM",
        "Zamba2ForCausalLM",
    }
)
"""Architectures that the evaluator image's vLLM serves, but not with an adapter; a test compares the two."""


FUSED_EXPERTS = frozenset(
    {
        "afmoe",
        "cohere2_moe",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "dots1",
        "ernie4_5_moe",
        "exaone_moe",
        "flex_olmo",
        "glm4_moe",
        "glm4_moe_lite",
        "glm4v_moe",
        "glm_moe_dsa",
        "hunyuan_v1_moe",
        "longcat_flash",
        "mellum",
        "minimax",
        "minimax_m2",
        "mixtral",
        "olmoe",
        "qwen3_moe",
        "qwen3_next",
        "qwen3_omni_moe",
        "qwen3_omni_moe_thinker",
        "solar_open",
    }
)
"""Mixtures of experts whose experts peft adapts as whole parameters, which it cannot do with dropout."""
STATE_SPACES = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""Model types of which peft refuses to adapt linear layers, because their kernels go past the adapter."""


def check_engine(spec: AugmentationRunSpec) -> None:
    """Checks the student's engine by the spec alone.

    Raises:
        ConfigurationError: engine, precision and number of GPUs do not fit together.
    """
    evaluate = spec.evaluate
    if evaluate.resolved_engine() == "vLLM":
        if spec.train.quantization == "nf4" and evaluate.precision == "fp32":
            raise ConfigurationError(
                "spec.evaluate.precision: vLLM evaluates QLoRA students only in bf16: set Auto or bf16, or engine: "
                "Transformers"
            )
        _check_gpus("spec.evaluate", evaluate.tensor_parallel_size, evaluate.gpus)
    elif evaluate.tensor_parallel_size > 1:
        raise ConfigurationError(
            f"spec.evaluate.tensorParallelSize is {evaluate.tensor_parallel_size}, but the engine is Transformers, "
            "which uses one GPU: remove it, or request GPUs in spec.evaluate.resources and set engine: vLLM"
        )


def check_adapter(spec: AugmentationRunSpec, info: ModelInfo) -> None:
    """Checks that the base model can be trained with an adapter, and be served with it.

    Raises:
        ConfigurationError: peft or vLLM could not.
    """
    if spec.train.method == "Full":
        return
    if info.model_type in STATE_SPACES:
        raise ConfigurationError(
            f"spec.train.method is {spec.train.method}, but models of type {info.model_type} cannot be trained with an "
            "adapter: set method: Full, or use another model"
        )
    if info.model_type in FUSED_EXPERTS and float(spec.train.lora.dropout) > 0:
        raise ConfigurationError(
            f'spec.train.lora.dropout is {spec.train.lora.dropout}, but must be "0" for a mixture of experts '
            f"({info.model_type}): its experts are adapted as a whole, without dropout"
        )
    for architecture in info.architectures:
        if architecture in WITHOUT_ADAPTERS and spec.evaluate.resolved_engine() == "vLLM":
            raise ConfigurationError(
                f"spec.evaluate.engine: vLLM cannot serve adapters for {architecture}: set engine: Transformers, or "
                "train.method: Full"
            )


def check_teacher(spec: AugmentationRunSpec) -> None:
    """Checks a local teacher by the spec alone.

    Raises:
        ConfigurationError: the teacher needs more GPUs than the step requests.
    """
    _check_gpus("spec.generate", spec.generate.tensor_parallel_size, spec.generate.gpus)


def check_heads(field: str, heads: object, size: int) -> None:
    """Checks that the model's attention heads can be divided over the GPUs.

    Args:
        field: the step block that sets the number of GPUs.
        heads: `num_attention_heads` of the model's config; not checked if it is not an integer.
        size: number of GPUs that the model is spread over.

    Raises:
        ConfigurationError: the heads cannot be divided evenly.
    """
    if isinstance(heads, int) and heads % size:
        raise ConfigurationError(
            f"{field}.tensorParallelSize is {size}, but the model's {heads} attention heads cannot be divided evenly "
            "among that many GPUs"
        )


def _check_gpus(field: str, size: int, gpus: int) -> None:
    """Checks the GPUs; if the spec requests none, the machine decides: a CPU build of vLLM uses none."""
    if gpus and size > gpus:
        raise ConfigurationError(
            f"{field}.tensorParallelSize is {size}, but {field}.resources requests {gpus} GPU{'s' * (gpus > 1)}: make "
            "them equal"
        )

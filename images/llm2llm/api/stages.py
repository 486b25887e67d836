"""The part of the API about the stages: what each computes, in addition to the step block with where it runs."""

from __future__ import annotations

import json
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from llm2llm.api.base import IDENTITY, CelRule, Fraction, Model, PositiveDecimal, Temperature
from llm2llm.api.pods import StepBlock


class Prepare(StepBlock):
    """Freezes the inputs and checks everything that can be checked before a GPU is requested."""


class Lora(Model):
    r: int = Field(
        16,
        ge=1,
        le=512,
        description="Rank of the update matrices. A higher rank can learn more and takes more memory.",
    )
    alpha: int = Field(
        32,
        ge=1,
        le=4096,
        description="Scaling factor: the update is multiplied by alpha/r. Common values are r and twice r.",
    )
    dropout: Fraction = Field("0.05", description="Dropout probability of the adapter's inputs during training.")
    use_rslora: bool = Field(
        False, description="Scale the update by alpha/sqrt(r) instead (rsLoRA), which suits ranks of 64 and above."
    )
    target_modules: Literal["all-linear"] = Field(
        "all-linear",
        description="Layers that get an adapter: every linear layer except the output head.",
    )


LORA_UNTOUCHED = " && ".join(
    f"(!has(self.lora.{name}) || self.lora.{name} == {json.dumps(value)})"
    for name, value in Lora().model_dump(by_alias=True).items()
)
"""Whether all adapter settings have their defaults, which the API server fills in if they are left out."""


class Hyperparameters(Model):
    learning_rate: PositiveDecimal = Field(
        "2e-4", description="Peak learning rate, after warm-up. Full fine-tuning needs a tenth of this or less."
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field(
        "cosine",
        description="Schedule of the learning rate after warm-up: cosine or linear decay to 0, or constant.",
    )
    warmup_ratio: Fraction = Field("0.03", description="Fraction of the optimizer steps used for linear warm-up.")
    num_train_epochs: int = Field(
        3, ge=1, le=1000, description="Number of passes over D(i); more are made if minSteps requires it."
    )
    effective_batch_size: int = Field(
        16, ge=1, le=4096, description="Examples per optimizer step, regardless of the hardware."
    )
    max_length: int = Field(
        1024, ge=8, le=131072, description="Maximum sequence length in tokens, prompt plus completion."
    )
    max_grad_norm: PositiveDecimal = Field(
        "1.0", description="Maximum gradient norm; larger gradients are clipped to it."
    )
    weight_decay: PositiveDecimal = Field("0", description="Weight decay coefficient of AdamW.")
    gradient_checkpointing: bool = Field(
        True,
        description="Recompute activations in the backward pass instead of storing them: less memory, more time.",
    )


class Checkpoint(Model):
    interval_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="Maximum seconds of training that a kill may lose; checkpoints are taken often enough to keep to "
        "it.",
    )
    keep: int = Field(
        2, ge=1, le=10, description="Number of checkpoints to keep while a step runs; older ones are deleted."
    )


class Train(StepBlock):
    method: Literal["LoRA", "QLoRA", "Full"] = Field(
        "LoRA",
        description="LoRA trains an adapter. QLoRA trains an adapter on a base model quantized to 4 bits (nf4), and "
        "evaluates it on the same. Full trains all weights and produces a complete model.",
        json_schema_extra=IDENTITY,
    )
    lora: Lora = Field(
        default_factory=Lora,
        description="Adapter settings; must not be set if method is Full.",
        json_schema_extra=IDENTITY,
    )
    hyperparameters: Hyperparameters = Field(
        default_factory=Hyperparameters,
        description="Optimizer and schedule. The micro-batch size is determined automatically; it has no field and "
        "affects nothing but which dropout masks are drawn.",
        json_schema_extra=IDENTITY,
    )
    min_steps: int = Field(
        100,
        ge=1,
        le=1000000,
        description="Minimum number of optimizer steps; epochs are added to reach it.",
        json_schema_extra=IDENTITY,
    )
    precision: Literal["Auto", "fp32", "bf16"] = Field(
        "Auto",
        description="Floating-point precision. Auto is bf16 where the device supports it, else fp32.",
        json_schema_extra=IDENTITY,
    )
    checkpoint: Checkpoint = Field(
        default_factory=Checkpoint,
        description="How often a training step saves a checkpoint to resume from after a failure.",
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            f"!has(self.method) || self.method != 'Full' || !has(self.lora) || ({LORA_UNTOUCHED})",
            "must not be set: method Full trains all weights",
            ".lora",
        ),
    )

    @field_validator("lora")
    @classmethod
    def _used(cls, lora: Lora, info: ValidationInfo) -> Lora:
        if info.data.get("method") == "Full" and lora != Lora():
            raise ValueError("must not be set: method Full trains all weights")
        return lora

    @property
    def quantization(self) -> Literal["none", "nf4"]:
        """Quantization of the base model, in training and in evaluation."""
        return "nf4" if self.method == "QLoRA" else "none"


class Sampling(Model):
    temperature: Temperature = Field(
        "0",
        description="0 is greedy decoding. Above 0, answers are sampled, each row with a seed derived from randomSeed "
        "and its id, so a run can be repeated; but which rows are wrong, and so what the teacher writes for, then "
        "depends on chance.",
    )
    max_tokens: int = Field(
        0,
        ge=0,
        le=32768,
        description="Maximum length of an answer in tokens. 0: the preset's limit or, for Custom, twice the "
        "length of the longest seed completion.",
    )


class Evaluate(StepBlock):
    engine: Literal["Auto", "vLLM", "Transformers"] = Field(
        "Auto",
        description="Inference engine. Auto is vLLM if resources request a GPU, else Transformers.",
        json_schema_extra=IDENTITY,
    )
    precision: Literal["Auto", "fp32", "bf16"] = Field(
        "Auto",
        description="Floating-point precision. Auto is bf16 where the device supports it, else fp32.",
        json_schema_extra=IDENTITY,
    )
    sampling: Sampling = Field(
        default_factory=Sampling,
        description="How the student generates answers: greedily by default, so that the same student is wrong on the "
        "same rows.",
        json_schema_extra=IDENTITY,
    )
    tensor_parallel_size: int = Field(
        1, ge=1, le=64, description="Number of GPUs that vLLM spreads the model over; request as many in resources."
    )

    def resolved_engine(self) -> Literal["vLLM", "Transformers"]:
        """Returns the engine as a function of the spec alone, so that it never depends on the node of the pod."""
        if self.engine != "Auto":
            return self.engine
        return "vLLM" if self.gpus else "Transformers"

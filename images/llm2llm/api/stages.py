"""The part of the API about the stages: what each computes, in addition to the step block with where it runs."""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from llm2llm.api.base import (
    IDENTITY,
    CaBundleReference,
    CelRule,
    Fraction,
    Model,
    ModelUri,
    PositiveDecimal,
    SecretKeyReference,
    ShortText,
    Temperature,
)
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


class TeacherSource(Model):
    uri: ModelUri = Field(
        description="Model in Hugging Face format: hf://owner/name, s3://, pvc:// or, for the local runner, file://.",
        json_schema_extra=IDENTITY,
    )
    revision: ShortText = Field(
        "main",
        description="Branch, tag or commit, for hf:// only; Prepare resolves it to a commit.",
        json_schema_extra=IDENTITY,
    )
    token_secret_ref: SecretKeyReference | None = Field(
        None, description="Access token for the Hugging Face Hub, for a gated or private teacher."
    )


class Teacher(Model):
    model: ShortText = Field(
        min_length=1,
        description="Model name to send to the endpoint. Local: any name; it appears in the lineage of rows.",
        json_schema_extra=IDENTITY,
    )
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://.+$", max_length=1024)] | None = Field(
        None, description="Online only: base URL of an OpenAI-compatible endpoint, e.g. https://api.openai.com/v1."
    )
    source: TeacherSource | None = Field(
        None, description="Local only: the model that vLLM serves inside the Job; it must have a chat template."
    )
    api_key_secret_ref: SecretKeyReference | None = Field(
        None, description="API key of the endpoint. Leave unset if the endpoint needs none."
    )
    ca_bundle_ref: CaBundleReference | None = Field(
        None, description="CA bundle to verify the endpoint's TLS certificate with, instead of the system roots."
    )
    extra_headers: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description="HTTP headers to add to every request, e.g. for a gateway. Put API keys in apiKeySecretRef "
        "instead.",
    )
    parameters: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description='Sampling parameters, sent as given, e.g. temperature: "0.8". Parameters that are not set are not '
        "sent.",
        json_schema_extra=IDENTITY,
    )


class Limits(Model):
    """Upper limits; the rate below them adapts to the endpoint's responses."""

    max_concurrent_requests: int = Field(
        32,
        ge=1,
        le=1024,
        description="Maximum number of requests in flight; after a crash, up to this many may be sent, and paid "
        "for, again.",
    )
    requests_per_minute: int | None = Field(
        None, ge=1, le=10**6, description="Maximum number of requests per minute. Unlimited if unset."
    )
    tokens_per_minute: int | None = Field(
        None, ge=1, le=10**9, description="Maximum number of tokens per minute, sent and received. Unlimited if unset."
    )


class Dedup(Model):
    threshold: Fraction = Field("0.95", description="ROUGE-L F1 score above which a row is a near duplicate.")


class Decontaminate(Model):
    ngram: int = Field(
        13,
        ge=8,
        le=50,
        description="Length in words of the n-grams that a new row must not share with any evaluation or test row.",
    )


class Filters(Model):
    dedup: Dedup = Field(
        default_factory=Dedup,
        description="Rejects near duplicates of a seed row or of a row written in this or an earlier round.",
    )
    decontaminate: Decontaminate = Field(
        default_factory=Decontaminate, description="Rejects rows that give away an evaluation or test row; always on."
    )
    min_acceptance: Fraction = Field(
        "0.1",
        description="Minimum fraction of the teacher's rows that the filters must keep. Below it the step fails "
        "and shows samples of rejected rows.",
    )


class Generate(StepBlock):
    mode: Literal["Online", "Local"] = Field(
        "Online",
        description="Online sends requests to an endpoint. Local serves the teacher with vLLM inside the Job; "
        "resources must request its GPUs, and the image must contain vLLM, as the default one, the evaluator's, does.",
        json_schema_extra=IDENTITY,
    )
    teacher: Teacher = Field(description="The model that writes new examples.")
    tensor_parallel_size: int = Field(
        1,
        ge=1,
        le=64,
        description="Local only: number of GPUs that vLLM spreads the teacher over; request as many in resources.",
    )
    instructions: Annotated[str, StringConstraints(max_length=8192)] = Field(
        "",
        description="Description of the task for the teacher. If empty, the preset's is used.",
        json_schema_extra=IDENTITY,
    )
    examples_per_mistake: int = Field(
        1,
        ge=1,
        le=32,
        description="Number of rows that the teacher writes for each mistake, before filtering.",
        json_schema_extra=IDENTITY,
    )
    strategy: Literal["Targeted", "Untargeted"] = Field(
        "Targeted",
        description="Targeted writes rows like the mistakes. Untargeted, the control arm, writes rows like random "
        "seed rows.",
        json_schema_extra=IDENTITY,
    )
    rows_per_round: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Number of rows that the teacher writes per round, before filtering, regardless of the number of "
        "mistakes. 0: examplesPerMistake rows for each mistake; Untargeted counts at least one mistake.",
        json_schema_extra=IDENTITY,
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="Upper limits for the requests to the teacher. Below them the rate adapts to the endpoint's "
        "responses.",
    )
    filters: Filters = Field(
        default_factory=Filters,
        description="Which of the teacher's rows are rejected. Rejected rows are stored separately, each with its "
        "reason.",
        json_schema_extra=IDENTITY,
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.mode != 'Online' || has(self.teacher.baseUrl)",
            "baseUrl must be set if mode is Online",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Online' || !has(self.teacher.source)",
            "source must not be set if mode is Online",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Local' || has(self.teacher.source)",
            "source must be set if mode is Local",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Local' || !(has(self.teacher.baseUrl) || has(self.teacher.apiKeySecretRef) ||"
            " has(self.teacher.caBundleRef) ||"
            " has(self.teacher.extraHeaders) && self.teacher.extraHeaders.size() > 0)",
            "baseUrl, apiKeySecretRef, caBundleRef and extraHeaders must not be set if mode is Local",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Online' || self.tensorParallelSize == 1",
            "must not be set if mode is Online",
            ".tensorParallelSize",
        ),
    )

    @field_validator("teacher")
    @classmethod
    def _teacher_of_mode(cls, teacher: Teacher, info: ValidationInfo) -> Teacher:
        match info.data.get("mode"):
            case "Online" if teacher.base_url is None:
                raise ValueError("baseUrl must be set if mode is Online")
            case "Online" if teacher.source is not None:
                raise ValueError("source must not be set if mode is Online")
            case "Local" if teacher.source is None:
                raise ValueError("source must be set if mode is Local")
            case "Local" if (
                teacher.base_url or teacher.api_key_secret_ref or teacher.ca_bundle_ref or teacher.extra_headers
            ):
                raise ValueError(
                    "baseUrl, apiKeySecretRef, caBundleRef and extraHeaders must not be set if mode is Local"
                )
        return teacher

    @field_validator("tensor_parallel_size")
    @classmethod
    def _one_online(cls, size: int, info: ValidationInfo) -> int:
        if info.data.get("mode") == "Online" and size != 1:
            raise ValueError("must not be set if mode is Online")
        return size

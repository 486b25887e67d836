"""The part of the API about the stages: what each computes, on top of the step block that says where it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from llm2llm.api.base import (
    IDENTITY,
    CaBundleReference,
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
    """Freezes the inputs and checks everything that can be checked before a GPU is asked for."""


class Lora(Model):
    r: int = Field(
        16,
        ge=1,
        le=512,
        description="Rank of the update: its width, and so what it can learn and what it takes of memory.",
    )
    alpha: int = Field(
        32, ge=1, le=4096, description="Scale of the update, which is multiplied by alpha/r; mostly r or twice r."
    )
    dropout: Fraction = Field(
        "0.05", description="Share of the adapter's inputs that are dropped in training, at random."
    )
    use_rslora: bool = Field(
        False, description="Multiply the update by alpha/sqrt(r) (rsLoRA), which suits ranks of 64 and more."
    )
    target_modules: Literal["all-linear"] = Field(
        "all-linear",
        description="Layers that get an adapter: every linear one except the output head.",
    )


class Hyperparameters(Model):
    learning_rate: PositiveDecimal = Field(
        "2e-4", description="Learning rate at its peak, after warm-up. Full tuning wants a tenth of this or less."
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field(
        "cosine",
        description="How the learning rate goes after warm-up: down to 0 along half a cosine or a line, or not at all.",
    )
    warmup_ratio: Fraction = Field("0.03", description="Share of the optimizer steps for linear warm-up.")
    num_train_epochs: int = Field(3, ge=1, le=1000, description="Passes over D(i); more where minSteps asks for more.")
    effective_batch_size: int = Field(
        16, ge=1, le=4096, description="Examples per optimizer step, whatever the hardware."
    )
    max_length: int = Field(1024, ge=8, le=131072, description="Longest row in tokens, prompt and completion together.")
    max_grad_norm: PositiveDecimal = Field(
        "1.0", description="Largest norm of the gradient of a step; a larger gradient is scaled down to it."
    )
    weight_decay: PositiveDecimal = Field("0", description="Weight decay of AdamW.")
    gradient_checkpointing: bool = Field(
        True,
        description="Compute activations again in the backward pass instead of keeping them: less memory, more time.",
    )


class Checkpoint(Model):
    interval_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="Seconds of training that a kill may cost: checkpoints are as frequent as that takes.",
    )
    keep: int = Field(2, ge=1, le=10, description="Newest checkpoints that are kept while a step runs.")


class Train(StepBlock):
    method: Literal["LoRA", "QLoRA", "Full"] = Field(
        "LoRA",
        description="LoRA trains an adapter; QLoRA one on a base in 4 bits (nf4), on which it is also evaluated; Full "
        "trains all weights, and its result is a whole model.",
        json_schema_extra=IDENTITY,
    )
    lora: Lora = Field(
        default_factory=Lora,
        description="Adapter settings; must be left out where method is Full.",
        json_schema_extra=IDENTITY,
    )
    hyperparameters: Hyperparameters = Field(
        default_factory=Hyperparameters,
        description="Optimizer and schedule. The micro-batch is found out: it has no field, and changes nothing but "
        "draws of dropout.",
        json_schema_extra=IDENTITY,
    )
    min_steps: int = Field(
        100, ge=1, le=1000000, description="Least optimizer steps, reached by more epochs.", json_schema_extra=IDENTITY
    )
    precision: Literal["Auto", "fp32", "bf16"] = Field(
        "Auto", description="Auto is bf16 where the device has it.", json_schema_extra=IDENTITY
    )
    checkpoint: Checkpoint = Field(
        default_factory=Checkpoint,
        description="How often a training step leaves a checkpoint to go on from after a failure.",
    )

    @field_validator("lora")
    @classmethod
    def _used(cls, lora: Lora, info: ValidationInfo) -> Lora:
        if info.data.get("method") == "Full" and lora != Lora():
            raise ValueError("must be left out: method Full trains all weights")
        return lora

    @property
    def quantization(self) -> Literal["none", "nf4"]:
        """Of the base, in training and in evaluation."""
        return "nf4" if self.method == "QLoRA" else "none"


class Sampling(Model):
    temperature: Temperature = Field(
        "0",
        description="0 is greedy. Above it answers are drawn, each row by a seed of randomSeed and its id, so that a "
        "run can be repeated; but which rows are wrong, and so what the teacher writes for, becomes a matter of luck.",
    )
    max_tokens: int = Field(
        0, ge=0, le=32768, description="Longest answer in tokens; 0: twice the longest seed completion."
    )


class Evaluate(StepBlock):
    engine: Literal["Auto", "vLLM", "Transformers"] = Field(
        "Auto", description="Auto is vLLM when resources ask for a GPU, else Transformers.", json_schema_extra=IDENTITY
    )
    precision: Literal["Auto", "fp32", "bf16"] = Field(
        "Auto", description="Auto is bf16 where the device has it.", json_schema_extra=IDENTITY
    )
    sampling: Sampling = Field(
        default_factory=Sampling,
        description="How the student answers: greedy by default, so that the same student is wrong on the same rows.",
        json_schema_extra=IDENTITY,
    )
    tensor_parallel_size: int = Field(
        1, ge=1, le=64, description="GPUs that vLLM spreads the model over; ask for as many in resources."
    )

    def resolved_engine(self) -> Literal["vLLM", "Transformers"]:
        """The engine as a function of the spec alone, so that it never depends on where the pod landed."""
        if self.engine != "Auto":
            return self.engine
        return "vLLM" if self.gpus else "Transformers"


class TeacherSource(Model):
    uri: ModelUri = Field(
        description="Model in the Hugging Face format: hf://owner/name, s3://, pvc:// or file:// (local).",
        json_schema_extra=IDENTITY,
    )
    revision: ShortText = Field(
        "main",
        description="Branch, tag or commit for hf://; resolved to a commit by Prepare.",
        json_schema_extra=IDENTITY,
    )
    token_secret_ref: SecretKeyReference | None = Field(
        None, description="Token of the Hugging Face hub, for a gated or private teacher."
    )


class Teacher(Model):
    model: ShortText = Field(
        min_length=1,
        description="Model name as the endpoint knows it; Local: any name, for the lineage of rows.",
        json_schema_extra=IDENTITY,
    )
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://.+$", max_length=1024)] | None = Field(
        None, description="Online: OpenAI-compatible endpoint, e.g. https://api.openai.com/v1."
    )
    source: TeacherSource | None = Field(
        None, description="Local: the model that vLLM serves inside the Job; it needs a chat template."
    )
    api_key_secret_ref: SecretKeyReference | None = Field(
        None, description="Key of the endpoint; none for a keyless one."
    )
    ca_bundle_ref: CaBundleReference | None = Field(
        None, description="Authorities of the endpoint's certificate, in place of the usual ones."
    )
    extra_headers: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description="Headers of every request, e.g. for a gateway; a key belongs into apiKeySecretRef.",
    )
    parameters: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description='Sampling parameters to send as given, e.g. temperature: "0.8"; unset ones are not sent.',
        json_schema_extra=IDENTITY,
    )


class Limits(Model):
    """Ceilings; the pace below them is found out from the endpoint's own answers."""

    max_concurrent_requests: int = Field(
        32, ge=1, le=1024, description="Requests in flight at once; a crash can cost so many again."
    )
    requests_per_minute: int | None = Field(None, ge=1, le=10**6, description="Requests begun in a minute; unset: any.")
    tokens_per_minute: int | None = Field(
        None, ge=1, le=10**9, description="Tokens sent and received in a minute; unset: any number."
    )


class Dedup(Model):
    threshold: Fraction = Field("0.95", description="ROUGE-L F1 above which a row is a near duplicate.")


class Decontaminate(Model):
    ngram: int = Field(
        13, ge=8, le=50, description="Words in a row that a new row may share with no evaluation or test row."
    )


class Filters(Model):
    dedup: Dedup = Field(
        default_factory=Dedup, description="Near duplicates of a seed row, or of a row of this or an earlier round."
    )
    decontaminate: Decontaminate = Field(
        default_factory=Decontaminate, description="Rows that give away a held-out one; always on."
    )
    min_acceptance: Fraction = Field(
        "0.1", description="Share of rows to be kept, below which the step fails with samples."
    )


class Generate(StepBlock):
    mode: Literal["Online", "Local"] = Field(
        "Online",
        description="Online asks an endpoint; Local serves the teacher by vLLM inside the Job, which asks for GPUs in "
        "resources and whose image, by default the evaluator's, holds vLLM.",
        json_schema_extra=IDENTITY,
    )
    teacher: Teacher = Field(description="The model that writes new examples.")
    tensor_parallel_size: int = Field(
        1, ge=1, le=64, description="Local: GPUs that vLLM spreads the teacher over; ask for as many in resources."
    )
    instructions: Annotated[str, StringConstraints(max_length=8192)] = Field(
        "", description="What the task is about, for the teacher.", json_schema_extra=IDENTITY
    )
    examples_per_mistake: int = Field(
        1,
        ge=1,
        le=32,
        description="Rows that the teacher writes for each mistake, before the filters.",
        json_schema_extra=IDENTITY,
    )
    strategy: Literal["Targeted", "Untargeted"] = Field(
        "Targeted",
        description="Targeted writes rows like the mistakes; Untargeted, the control arm, like random seed rows.",
        json_schema_extra=IDENTITY,
    )
    rows_per_round: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Exactly so many new rows a round, whatever the mistakes; 0: examplesPerMistake for each of them, "
        "and for at least one in an untargeted round.",
        json_schema_extra=IDENTITY,
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="Ceilings for the requests to the teacher; below them the pace follows the endpoint's own answers.",
    )
    filters: Filters = Field(
        default_factory=Filters,
        description="Which of the teacher's rows are rejected; rejected ones are kept apart, each with its reason.",
        json_schema_extra=IDENTITY,
    )

    @field_validator("teacher")
    @classmethod
    def _teacher_of_mode(cls, teacher: Teacher, info: ValidationInfo) -> Teacher:
        match info.data.get("mode"):
            case "Online" if teacher.base_url is None:
                raise ValueError("baseUrl must be set where mode is Online")
            case "Online" if teacher.source is not None:
                raise ValueError("source must be left out where mode is Online")
            case "Local" if teacher.source is None:
                raise ValueError("source must be set where mode is Local")
            case "Local" if (
                teacher.base_url or teacher.api_key_secret_ref or teacher.ca_bundle_ref or teacher.extra_headers
            ):
                raise ValueError("what belongs to an endpoint must be left out where mode is Local")
        return teacher

    @field_validator("tensor_parallel_size")
    @classmethod
    def _one_online(cls, size: int, info: ValidationInfo) -> int:
        if info.data.get("mode") == "Online" and size != 1:
            raise ValueError("must be left out where mode is Online")
        return size

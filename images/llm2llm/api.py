"""The typed AugmentationRun: the CRD is generated from it, the local runner and the operator validate with it.

Fractions and money are strings with a pattern (a float does not survive every YAML tool). A field marked `identity`
defines the experiment and cannot change once the run exists; every other field is operational and acts from the next
decision on. Descriptions are what `kubectl explain` shows.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationInfo, field_validator

from llm2llm.api_base import (
    IDENTITY,
    MONTH,
    ArtifactsKey,
    Fraction,
    Model,
    PositiveDecimal,
    SecretKeyReference,
    SecretReference,
    ShortText,
    Uri,
)
from llm2llm.api_pods import PodOverrides, StepBlock

GROUP = "llm2llm.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AugmentationRun"
PLURAL = "augmentationruns"
NAME_LIMIT = 40
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class Objective(Model):
    metric: Literal["accuracy"] = Field("accuracy", description="Metric that chooses the best iteration.")
    goal: Fraction | None = Field(None, description="The run is complete once the metric reaches this value.")


class EarlyStopping(Model):
    patience: int = Field(ge=3, le=64, description="Iterations without an improvement after which the run is complete.")
    min_delta: Fraction = Field(
        "0.005", description="Smallest gain that counts as an improvement; at least one example."
    )


class Grader(Model):
    type: Literal["ExactMatch", "Choice"] = Field(
        "ExactMatch",
        description="ExactMatch compares after trimming; Choice after space and case folding, among labels.",
    )


class Task(Model):
    preset: Literal["Custom"] = Field(
        "Custom", description="The task family; Custom takes the template and grader below."
    )
    prompt_template: str = Field(
        min_length=1,
        max_length=8192,
        description="Sandboxed Jinja template of the prompt, over the names in data.seed.fields, e.g. '{{ prompt }}'.",
    )
    grader: Grader = Field(default_factory=Grader, description="How an answer is judged.")
    labels: list[ShortText] = Field(
        default_factory=list, max_length=1000, validate_default=True, description="The answers that Choice allows."
    )

    @field_validator("labels")
    @classmethod
    def _labels_for_choice(cls, labels: list[str], info: ValidationInfo) -> list[str]:
        grader = info.data.get("grader")
        if grader is not None and grader.type == "Choice" and not labels:
            raise ValueError("must not be empty when grader.type is Choice")
        return labels


class Source(Model):
    uri: Uri = Field(description="Where the rows lie: s3:// or, for the local runner, file://; a .jsonl file.")
    fields: dict[ShortText, ShortText] = Field(
        default_factory=lambda: {"prompt": "prompt", "completion": "completion"},
        max_length=32,
        description="Name in the task to name in the file; 'completion' is the answer, the others go to the template.",
    )


class HeldOutSource(Model):
    uri: Uri = Field(description="Where the rows lie: s3:// or, for the local runner, file://; a .jsonl file.")
    fields: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="As for the seed set; empty means the same mapping as the seed's.",
    )


class Data(Model):
    seed: Source = Field(description="The seed set D0: the examples that the student has to learn.")
    evaluation: HeldOutSource | None = Field(
        None, description="Held-out rows, scored in every iteration, never trained on and never shown to the teacher."
    )


class StudentModel(Model):
    uri: Uri = Field(
        description="Base model in the Hugging Face format: hf://owner/name, s3://, pvc:// or file:// (local)."
    )
    revision: ShortText = Field("main", description="Branch, tag or commit for hf://; resolved to a commit by Prepare.")


class Student(Model):
    model: StudentModel = Field(
        description="The model that is fine-tuned, anew from its base in every iteration.", json_schema_extra=IDENTITY
    )
    token_secret_ref: SecretKeyReference | None = Field(None, description="Hub token for a gated model.")


class Artifacts(Model):
    uri: Uri = Field(
        description="Folder for everything that the run makes: s3://bucket/prefix.", json_schema_extra=IDENTITY
    )
    key: ArtifactsKey = Field(
        "",
        description="Folder name of this run below uri/namespace; by default <name>-<uid8>.",
        json_schema_extra=IDENTITY,
    )
    endpoint: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "", description="S3 endpoint; empty: AWS's own."
    )
    region: ShortText = Field("", description="S3 region; empty: the environment's.")
    path_style: bool = Field(False, description="Address buckets by path instead of by host name.")
    credentials_secret_ref: SecretReference | None = Field(
        None, description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if need be, AWS_SESSION_TOKEN."
    )


class Prepare(StepBlock):
    """Freezes the inputs and checks everything that can be checked before a GPU is asked for."""


class Lora(Model):
    r: int = Field(16, ge=1, le=512, description="Rank.")
    alpha: int = Field(32, ge=1, le=4096, description="Scale numerator; the update is multiplied by alpha/r.")
    dropout: Fraction = Field("0.05", description="Dropout before the adapter.")
    target_modules: Literal["all-linear"] = Field(
        "all-linear", description="Every linear layer except the output head."
    )


class Hyperparameters(Model):
    learning_rate: PositiveDecimal = Field("2e-4", description="Peak learning rate.")
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field("cosine", description="Schedule after warm-up.")
    warmup_ratio: Fraction = Field("0.03", description="Share of the optimizer steps for linear warm-up.")
    num_train_epochs: int = Field(3, ge=1, le=1000, description="Passes over D(i).")
    effective_batch_size: int = Field(
        16, ge=1, le=4096, description="Examples per optimizer step, whatever the hardware."
    )
    max_length: int = Field(1024, ge=8, le=131072, description="Longest row in tokens, prompt and completion together.")
    max_grad_norm: PositiveDecimal = Field("1.0", description="Gradient clipping.")
    weight_decay: PositiveDecimal = Field("0", description="AdamW weight decay.")
    gradient_checkpointing: bool = Field(True, description="Trade compute for memory.")


class Checkpoint(Model):
    interval_seconds: int = Field(300, ge=1, le=86400, description="Seconds between checkpoints in the store.")
    keep: int = Field(2, ge=1, le=10, description="Newest checkpoints that are kept while a step runs.")


class Train(StepBlock):
    method: Literal["LoRA"] = Field("LoRA", description="How the student is fine-tuned.", json_schema_extra=IDENTITY)
    lora: Lora = Field(default_factory=Lora, description="Adapter settings.", json_schema_extra=IDENTITY)
    hyperparameters: Hyperparameters = Field(
        default_factory=Hyperparameters, description="Optimizer and schedule.", json_schema_extra=IDENTITY
    )
    min_steps: int = Field(
        100, ge=1, le=1000000, description="Least optimizer steps, reached by more epochs.", json_schema_extra=IDENTITY
    )
    precision: Literal["Auto", "fp32", "bf16"] = Field(
        "Auto", description="Auto is bf16 where the device has it.", json_schema_extra=IDENTITY
    )
    checkpoint: Checkpoint = Field(default_factory=Checkpoint, description="Checkpoints in the store.")


class Sampling(Model):
    temperature: Literal["0"] = Field("0", description="Greedy: whether a row is wrong must not be a matter of luck.")
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
    sampling: Sampling = Field(default_factory=Sampling, description="Decoding.", json_schema_extra=IDENTITY)

    def resolved_engine(self) -> Literal["vLLM", "Transformers"]:
        """The engine as a function of the spec alone, so that it never depends on where the pod landed."""
        if self.engine != "Auto":
            return self.engine
        asked = self.resources.requests | self.resources.limits
        return (
            "vLLM" if any(name.endswith("/gpu") and amount != "0" for name, amount in asked.items()) else "Transformers"
        )


class Teacher(Model):
    model: ShortText = Field(
        min_length=1, description="Model name as the endpoint knows it.", json_schema_extra=IDENTITY
    )
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://.+$", max_length=1024)] = Field(
        description="OpenAI-compatible endpoint, e.g. https://api.openai.com/v1."
    )
    api_key_secret_ref: SecretKeyReference | None = Field(
        None, description="Key of the endpoint; none for a keyless one."
    )
    parameters: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description='Sampling parameters to send as given, e.g. temperature: "0.8"; unset ones are not sent.',
        json_schema_extra=IDENTITY,
    )


class Limits(Model):
    max_concurrent_requests: int = Field(32, ge=1, le=1024, description="Requests in flight at once.")


class Dedup(Model):
    threshold: Fraction = Field("0.95", description="ROUGE-L F1 above which a row is a near duplicate.")


class Filters(Model):
    dedup: Dedup = Field(default_factory=Dedup, description="Duplicates over all rounds.")
    min_acceptance: Fraction = Field(
        "0.1", description="Share of rows to be kept, below which the step fails with samples."
    )


class Generate(StepBlock):
    teacher: Teacher = Field(description="The model that writes new examples.")
    instructions: Annotated[str, StringConstraints(max_length=8192)] = Field(
        "", description="What the task is about, for the teacher.", json_schema_extra=IDENTITY
    )
    examples_per_mistake: int = Field(
        1, ge=1, le=32, description="New rows for each mistake.", json_schema_extra=IDENTITY
    )
    limits: Limits = Field(default_factory=Limits, description="Ceilings for the teacher.")
    filters: Filters = Field(default_factory=Filters, description="What is rejected.", json_schema_extra=IDENTITY)


class Retries(Model):
    transient: int = Field(3, ge=0, le=100, description="Attempts after a transient failure.")
    out_of_memory: int = Field(
        3, ge=0, le=20, description="Attempts with half the micro-batch after GPU out of memory."
    )
    job_deleted: int = Field(1, ge=0, le=20, description="Attempts after somebody deleted the Job.")


class Approval(Model):
    mode: Literal["Never", "BeforeTraining"] = Field(
        "Never", description="BeforeTraining holds the run until a person has released the newest synthetic set."
    )
    approved_rounds: int = Field(0, ge=0, le=64, description="How many synthetic sets a person has released so far.")


class Scheduling(Model):
    queue_name: Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)] = (
        Field("", description="Kueue LocalQueue; written as the label kueue.x-k8s.io/queue-name.")
    )
    priority_class_name: ShortText = Field("", description="PriorityClass of the pods.")


class AugmentationRunSpec(Model):
    suspend: bool = Field(False, description="True stops the run after a checkpoint; false goes on.")
    max_iterations: int = Field(
        10, ge=1, le=64, description="Iterations at most; 1 is plain fine-tuning, the baseline."
    )
    random_seed: int = Field(
        0, ge=0, le=2147483647, description="Seed of every shuffle and draw.", json_schema_extra=IDENTITY
    )
    start_from: Literal["BaseModel"] = Field(
        "BaseModel", description="What each iteration trains from.", json_schema_extra=IDENTITY
    )
    objective: Objective = Field(default_factory=Objective, description="What best means and when to stop.")
    early_stopping: EarlyStopping | None = Field(None, description="Stop when nothing improves; there is no default.")
    task: Task = Field(description="How a row becomes a prompt and an answer is judged.", json_schema_extra=IDENTITY)
    data: Data = Field(description="Seed and evaluation sets.", json_schema_extra=IDENTITY)
    student: Student = Field(description="The small model.")
    artifacts: Artifacts = Field(description="Where results go.")
    prepare: Prepare = Field(default_factory=Prepare, description="Pod of the first step, on CPU.")
    train: Train = Field(default_factory=Train, description="Fine-tuning.")
    evaluate: Evaluate = Field(default_factory=Evaluate, description="Scoring.")
    generate: Generate = Field(description="Writing new examples.")
    retries: Retries = Field(default_factory=Retries, description="Further attempts of a step, by cause.")
    max_disruptions: int = Field(20, ge=0, le=1000, description="Evictions and preemptions that a step may meet.")
    retry: int = Field(0, ge=0, le=1000000, description="Raise it to go on after Failed.")
    approval: Approval = Field(default_factory=Approval, description="A person's release before each training.")
    active_deadline_seconds: int | None = Field(
        None, ge=1, le=MONTH * 12, description="Fail if the run's containers ran longer than this in all."
    )
    pod_overrides: PodOverrides = Field(
        default_factory=PodOverrides, description="Additions to the pods of every step; an allow-list."
    )
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Queue and priority.")


def identity_paths(model: type[BaseModel] = AugmentationRunSpec, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths below spec, in camelCase, of the fields that define the experiment."""
    paths: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        path = (*prefix, field.alias or name)
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("x-llm2llm-identity"):
            paths.append(path)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            paths.extend(identity_paths(field.annotation, path))
    return paths

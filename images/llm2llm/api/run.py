"""The typed AugmentationRun: the CRD is generated from it, and the local runner and the operator validate with it.

Fractions and money are strings with a pattern (a float does not survive every YAML tool). A field marked `identity`
defines the experiment and cannot change once the run exists; every other field is operational and takes effect at the
next decision. Descriptions are what `kubectl explain` shows.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from llm2llm.api.base import IDENTITY, MONTH, CelRule, Model
from llm2llm.api.data import LABELED_PRESETS, Artifacts, Data, Reuse, Student, Task
from llm2llm.api.generate import Generate
from llm2llm.api.pods import PodOverrides
from llm2llm.api.policy import Approval, Budget, EarlyStopping, Objective, Retries, Scheduling
from llm2llm.api.stages import Evaluate, Prepare, Train
from llm2llm.api.tracking import Tracking
from llm2llm.records import MACRO_F1

GROUP = "llm2llm.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AugmentationRun"
PLURAL = "augmentationruns"
NAME_LIMIT = 40
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MACRO_F1_NEEDS_LABELS = "metric macroF1 needs a task with labels: grader Choice, or a preset other than GSM8K"
PROBE_NEEDS_THE_BASE = "Probe needs startFrom BaseModel: the previous adapter was trained on the fold that is probed"
"""The local runner and the API server use the same message, as for all rules of the CRD."""


class AugmentationRunSpec(Model):
    suspend: bool = Field(
        False, description="True stops the run, after the current step has saved a checkpoint; false resumes it."
    )
    max_iterations: int = Field(
        10,
        ge=1,
        le=64,
        description="Maximum number of iterations; 1 is plain fine-tuning, the baseline. With errorsFrom: Probe, it "
        "counts the probing iterations, and the closing iteration is added.",
    )
    random_seed: int = Field(
        0,
        ge=0,
        le=2147483647,
        description="Seed for all shuffling and sampling. The same spec and seed give the same rows and, on the same "
        "kind of machine, the same adapters.",
        json_schema_extra=IDENTITY,
    )
    start_from: Literal["BaseModel", "PreviousIteration"] = Field(
        "BaseModel",
        description="What each iteration trains from: the base model, as in the paper, or the adapter of the previous "
        "iteration.",
        json_schema_extra=IDENTITY,
    )
    augment_from: Literal["Seed", "SeedAndSynthetic"] = Field(
        "Seed",
        description="Which mistakes the teacher writes new rows for. Seed: those on seed rows, as in the paper. "
        "SeedAndSynthetic: also those on synthetic rows that were trained on (the paper's ablation); the teacher's "
        "own errors can then multiply.",
        json_schema_extra=IDENTITY,
    )
    errors_from: Literal["Seed", "Probe"] = Field(
        "Seed",
        description="Which rows the mistakes are taken from. Seed: the rows that were trained on, as in the paper. "
        "Probe: iteration i does not train on fold i mod 4 of the seed set, nor on rows written for it, and takes its "
        "mistakes from that fold; it is never the best. When a stop rule applies, one closing iteration trains on "
        "everything, is evaluated, and is the best. Use Probe for students that get all seed rows right but not the "
        "evaluation set.",
        json_schema_extra=IDENTITY,
    )
    task: Task = Field(
        description="How a row is turned into a prompt, and how an answer is graded.", json_schema_extra=IDENTITY
    )
    objective: Objective = Field(
        default_factory=Objective,
        description="The score that selects the best iteration and that can end the run.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Complete the run when the score stops improving. Off by default."
    )
    data: Data = Field(
        description="Where the labeled data is stored: seed set, evaluation set and test set. Prepare freezes them."
    )
    student: Student = Field(description="The small model to fine-tune, and where its base model comes from.")
    artifacts: Artifacts = Field(
        description="Where the run stores everything that it produces: frozen inputs, adapters, answers, synthetic "
        "rows, logs and the report."
    )
    prepare: Prepare = Field(
        default_factory=Prepare,
        description="Pod of the first step, which checks and freezes all inputs, on CPU, before any GPU is requested.",
    )
    train: Train = Field(
        default_factory=Train,
        description="How an iteration trains the student on D(i): the seed set and all synthetic rows kept so far.",
    )
    evaluate: Evaluate = Field(
        default_factory=Evaluate,
        description="How an iteration's student is scored on the seed set, whose mistakes the teacher writes for, and "
        "on the evaluation set. The test set is scored in the same way.",
    )
    generate: Generate = Field(
        description="How the teacher writes new rows for an iteration's mistakes, and which of them are kept."
    )
    retries: Retries = Field(default_factory=Retries, description="Maximum number of retries of a step, by cause.")
    max_disruptions: int = Field(
        20,
        ge=0,
        le=1000,
        description="Maximum number of pod disruptions (evictions and preemptions) tolerated per step, and of pods in "
        "a row that a kubelet refuses.",
    )
    retry: int = Field(
        0,
        ge=0,
        le=1000000,
        description="Raise it to resume a run that has failed, or that is held for a person to act. The step that "
        "failed is retried with a new attempt; recorded steps are not repeated.",
    )
    budget: Budget = Field(
        default_factory=Budget, description="Limits on what the run may spend. By default there are none."
    )
    approval: Approval = Field(
        default_factory=Approval, description="Whether a person must approve the synthetic rows before each training."
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MONTH * 12,
        description="Fail the run if its containers have run for more than this many seconds in total.",
    )
    reuse_from: list[Reuse] = Field(
        default_factory=list,
        max_length=8,
        description="Runs to copy steps and teacher answers from where the experiment is the same, so that they are "
        "neither repeated nor paid for again.",
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=MONTH * 120,
        description="Delete the run this many seconds after it has finished, if the operator is allowed to; its "
        "artifacts are kept. A GitOps tool would create the deleted run again, and it would be paid for again, unless "
        "artifacts.key is set.",
    )
    pod_overrides: PodOverrides = Field(
        default_factory=PodOverrides,
        description="Additions to the pods of every step. Only the fields listed here can be set.",
    )
    scheduling: Scheduling = Field(
        default_factory=Scheduling,
        description="Queue and priority of the Jobs, e.g. for Kueue, and priority of their pods.",
    )
    tracking: Tracking | None = Field(
        None, description="Servers that show this run's scores beside those of others. The run never reads from them."
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!has(self.objective) || !has(self.objective.metric) || self.objective.metric != 'macroF1' || "
            f"(has(self.task.preset) && self.task.preset in [{', '.join(map(repr, LABELED_PRESETS))}]) || "
            "(has(self.task.grader) && has(self.task.grader.type) && self.task.grader.type == 'Choice')",
            MACRO_F1_NEEDS_LABELS,
            ".objective",
        ),
        CelRule(
            "!has(self.errorsFrom) || self.errorsFrom != 'Probe' || !has(self.startFrom) || "
            "self.startFrom != 'PreviousIteration'",
            PROBE_NEEDS_THE_BASE,
            ".errorsFrom",
        ),
    )

    @field_validator("errors_from")
    @classmethod
    def _probe_from_the_base(cls, errors_from: str, info: ValidationInfo) -> str:
        if errors_from == "Probe" and info.data.get("start_from") == "PreviousIteration":
            raise ValueError(PROBE_NEEDS_THE_BASE)
        return errors_from

    @field_validator("objective")
    @classmethod
    def _macro_f1_of_labels(cls, objective: Objective, info: ValidationInfo) -> Objective:
        if objective.metric == MACRO_F1 and "task" in info.data and not info.data["task"].labeled:
            raise ValueError(MACRO_F1_NEEDS_LABELS)
        return objective


def identity_paths(model: type[BaseModel] = AugmentationRunSpec, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Returns the paths below spec, in camelCase, of the fields that define the experiment."""
    paths: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        path = (*prefix, field.alias or name)
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("x-llm2llm-identity"):
            paths.append(path)
        elif part := model_in(field.annotation):
            paths.extend(identity_paths(part, path))
    return paths


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the model of a field, also of an optional one; None for anything else, including lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) not in (Union, UnionType):
        return None
    return next((part for part in map(model_in, get_args(annotation)) if part), None)

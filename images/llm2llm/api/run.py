"""The typed AugmentationRun: the CRD is generated from it, the local runner and the operator validate with it.

Fractions and money are strings with a pattern (a float does not survive every YAML tool). A field marked `identity`
defines the experiment and cannot change once the run exists; every other field is operational and acts from the next
decision on. Descriptions are what `kubectl explain` shows.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from llm2llm.api.base import IDENTITY, MONTH, Model
from llm2llm.api.data import Artifacts, Data, Reuse, Student, Task
from llm2llm.api.pods import PodOverrides
from llm2llm.api.policy import Approval, Budget, EarlyStopping, Objective, Retries, Scheduling
from llm2llm.api.stages import Evaluate, Generate, Prepare, Train
from llm2llm.records import MACRO_F1

GROUP = "llm2llm.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AugmentationRun"
PLURAL = "augmentationruns"
NAME_LIMIT = 40
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MACRO_F1_NEEDS_LABELS = "metric macroF1 needs a task with labels: grader Choice, or a preset other than GSM8K"
PROBE_NEEDS_THE_BASE = "Probe needs startFrom BaseModel: the adapter before was trained on the fold that is probed"
"""The same words by the local runner and by the API server, as of all of the CRD's rules."""


class AugmentationRunSpec(Model):
    suspend: bool = Field(False, description="True stops the run after a checkpoint; false goes on.")
    max_iterations: int = Field(
        10,
        ge=1,
        le=64,
        description="Iterations at most; 1 is plain fine-tuning, the baseline. Where errorsFrom is Probe these are the "
        "probing ones, and the closing one comes on top.",
    )
    random_seed: int = Field(
        0,
        ge=0,
        le=2147483647,
        description="Seed of every shuffle and draw: the same spec and seed give the same rows and, "
        "on one kind of machine, the same adapters.",
        json_schema_extra=IDENTITY,
    )
    start_from: Literal["BaseModel", "PreviousIteration"] = Field(
        "BaseModel",
        description="What each iteration trains from: the base model, as in the paper, or the one before it.",
        json_schema_extra=IDENTITY,
    )
    augment_from: Literal["Seed", "SeedAndSynthetic"] = Field(
        "Seed",
        description="Whose mistakes the teacher writes for: the seed rows', as in the paper; or also those of the "
        "synthetic rows that were trained on, its ablation, which lets the teacher's own slips breed.",
        json_schema_extra=IDENTITY,
    )
    errors_from: Literal["Seed", "Probe"] = Field(
        "Seed",
        description="Where mistakes are looked for. Seed: among the rows that were trained on, as in the paper. Probe: "
        "iteration i trains without the fold i mod 4 of the seed set and the rows written from it, takes its mistakes "
        "there and is never best; when a stop rule fires, one closing iteration trains on everything, is evaluated, "
        "and is best. For students that get all seeds right and the evaluation set wrong.",
        json_schema_extra=IDENTITY,
    )
    task: Task = Field(description="How a row becomes a prompt and an answer is judged.", json_schema_extra=IDENTITY)
    objective: Objective = Field(
        default_factory=Objective,
        description="Which score is the run's: it chooses the best iteration, and may end the run.",
    )
    early_stopping: EarlyStopping | None = Field(None, description="Stop when nothing improves; there is no default.")
    data: Data = Field(
        description="Where the labeled rows lie: seed set, evaluation set and test set. Prepare freezes them."
    )
    student: Student = Field(description="The small model that is trained, and where its base comes from.")
    artifacts: Artifacts = Field(
        description="Where everything that the run makes is kept: inputs, adapters, answers, written "
        "rows, logs and report."
    )
    prepare: Prepare = Field(
        default_factory=Prepare,
        description="Pod of the first step, which checks and freezes all inputs within seconds, on "
        "CPU, before any GPU is asked for.",
    )
    train: Train = Field(
        default_factory=Train,
        description="How an iteration trains the student on D(i): the seed rows and everything "
        "written and kept so far.",
    )
    evaluate: Evaluate = Field(
        default_factory=Evaluate,
        description="How an iteration's student is scored on the seed set, whose mistakes the teacher "
        "writes for, and on the evaluation set; the test set is scored likewise.",
    )
    generate: Generate = Field(
        description="How the teacher writes new rows for the mistakes of an iteration, and which of them are kept."
    )
    retries: Retries = Field(default_factory=Retries, description="Further attempts of a step, by cause.")
    max_disruptions: int = Field(20, ge=0, le=1000, description="Evictions and preemptions that a step may meet.")
    retry: int = Field(
        0,
        ge=0,
        le=1000000,
        description="Raise it to go on after Failed, or after a hold that a person has to end: with "
        "the next attempt of the step that failed; what is recorded stays.",
    )
    budget: Budget = Field(default_factory=Budget, description="What the run may spend; no limit is set by default.")
    approval: Approval = Field(default_factory=Approval, description="A person's release before each training.")
    active_deadline_seconds: int | None = Field(
        None, ge=1, le=MONTH * 12, description="Fail if the run's containers ran longer than this in all."
    )
    reuse_from: list[Reuse] = Field(
        default_factory=list,
        max_length=8,
        description="Runs whose steps and teacher answers are copied where they are the same experiment: not repeated "
        "and not paid again.",
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=MONTH * 120,
        description="Delete the run so long after its end, where the operator may; its artifacts stay. Under GitOps a "
        "deleted run would be applied, and paid, again, unless artifacts.key is set.",
    )
    pod_overrides: PodOverrides = Field(
        default_factory=PodOverrides, description="Additions to the pods of every step; an allow-list."
    )
    scheduling: Scheduling = Field(
        default_factory=Scheduling, description="Queue and priority of the Jobs, e.g. under Kueue, and of their pods."
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
    """Paths below spec, in camelCase, of the fields that define the experiment."""
    paths: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        path = (*prefix, field.alias or name)
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("x-llm2llm-identity"):
            paths.append(path)
        elif part := model_in(field.annotation):
            paths.extend(identity_paths(part, path))
    return paths


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field, also of an optional one; None for anything else, lists included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) not in (Union, UnionType):
        return None
    return next((part for part in map(model_in, get_args(annotation)) if part), None)

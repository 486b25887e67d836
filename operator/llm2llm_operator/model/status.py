"""The status of a run, typed, as the operator reads and writes it.

Fields that a newer operator wrote are kept (`extra="allow"`). The CRD's status schema is generated from these models,
because the API server silently prunes a field that is not in the schema.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from llm2llm.loop.outcomes import StepId
from llm2llm.records import (
    DATASET_LIMIT,
    DIGEST_LIMIT,
    ENGINE_LIMIT,
    METRICS_LIMIT,
    NAME_LIMIT,
    REVISION_LIMIT,
    URI_LIMIT,
    Kind,
    Stage,
)

FORMER_NAME = "x-llm2llm-former-name"
MESSAGE_LIMIT = 4096
"""Maximum number of characters of a condition's message."""
STEP_MESSAGE_LIMIT = 1024
STAGE_NAMES = f"{', '.join([*Stage][:-1])} or {[*Stage][-1]}."


def _keyed(*keys: str) -> dict[str, Any]:
    """Makes a list a map by these keys; the API server rejects a status in which two entries have the same keys."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def _formerly(name: str) -> dict[str, Any]:
    """Names the former name of a field, so that a stored status that uses it still passes the API server's schema."""
    return {FORMER_NAME: name}


class StatusModel(BaseModel):
    """Base of the status models: camelCase in JSON; keeps unknown fields of a newer version."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="allow")

    def updated(self, **changes: Any) -> Self:
        """Returns a copy with these fields changed.

        Raises:
            TypeError: there is no field of this name. `model_copy` would accept it, and it would go to the API server.
        """
        unknown = changes.keys() - type(self).model_fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        return self.model_copy(update=changes)


class Condition(StatusModel):
    type: str = Field(max_length=64, description="Complete, Failed, Suspended, Progressing, Reconciling or Stalled.")
    status: str = Field(max_length=16, description="True, False or Unknown.")
    reason: str = Field(max_length=128, description="Machine-readable reason for the status, in CamelCase.")
    message: str = Field("", max_length=MESSAGE_LIMIT, description="Human-readable details.")
    last_transition_time: str = Field(max_length=64, description="When status last changed.")
    observed_generation: int = Field(0, ge=0, description="metadata.generation that the condition is based on.")


class MetricStatus(StatusModel):
    name: str = Field(max_length=NAME_LIMIT, description="accuracy or macroF1.")
    dataset: str = Field(
        max_length=DATASET_LIMIT,
        description="seed, probe (seed rows left out of training), synthetic, evaluation or test.",
    )
    value: str = Field(max_length=16, description="The score, to four decimal places.")
    examples: int = Field(ge=0, description="Number of rows that the score was computed from.")
    low: str = Field(
        max_length=16,
        description="Lower bound of the 95 % confidence interval: Wilson for accuracy, bootstrap for macroF1.",
    )
    high: str = Field(max_length=16, description="Upper bound of the 95 % confidence interval.")


class PairedStatus(StatusModel):
    """Comparison of two iterations' verdicts on the same rows."""

    against: int = Field(
        ge=0, description="The iteration that this one was compared with: the iteration to beat at the time."
    )
    dataset: str = Field(max_length=DATASET_LIMIT, description="The set that spec.objective is computed on.")
    examples: int = Field(ge=1, description="Number of rows that both iterations answered.")
    gained: int = Field(ge=0, description="Number of rows that only this iteration got right.")
    lost: int = Field(ge=0, description="Number of rows that only the iteration to beat got right.")


class StepRecord(StatusModel):
    """A record of the ledger: one step that has ended."""

    stage: str = Field(max_length=16, description=STAGE_NAMES)
    attempt: int = Field(ge=0, description="Number of the attempt that ended the step, counted from 0.")
    kind: str = Field(
        "Run", max_length=16, description="Run; or Collect, if the attempt only read the report from the manifest."
    )
    job_uid: str = Field("", alias="jobUID", max_length=64, description="UID of the Job of that attempt.")
    outcome: str = Field(max_length=16, description="Succeeded or Failed.")
    reason: str = Field("", max_length=64, description="Why the step failed.")
    start_time: str = Field("", max_length=64, description="When the step's container started.")
    completion_time: str = Field("", max_length=64, description="When the step's container ended.")
    active_seconds: int = Field(0, ge=0, description="Seconds that the step's containers ran, over all attempts.")
    digest: str = Field("", max_length=DIGEST_LIMIT, description="Digest of the committed output.")
    model_uri: str = Field("", max_length=URI_LIMIT, description="Train only: URI of the adapter or model.")
    micro_batch: int = Field(
        0,
        ge=0,
        description="Train only: upper limit of the micro-batch size after running out of GPU memory; later training "
        "steps keep to it.",
    )


class IterationStatus(StatusModel):
    index: int = Field(
        ge=0,
        description="Number of the iteration, counted from 0. With errorsFrom: Probe, the closing iteration after "
        "n probing ones is 100 + n.",
    )
    train_examples: int = Field(0, ge=0, description="Number of rows in D(i), which the iteration trained on.")
    optimizer_steps: int = Field(0, ge=0, description="Number of optimizer steps of the training.")
    mistakes: int = Field(
        0,
        ge=0,
        description="Number of rows that the teacher writes for: seed rows that this iteration's student got wrong "
        "and, if augmentFrom is SeedAndSynthetic, synthetic rows. metrics has a score for each set.",
    )
    generated: int = Field(0, ge=0, description="Number of rows that the teacher wrote.")
    kept: int = Field(0, ge=0, description="Number of rows that the filters kept.")
    learned: int = Field(
        0,
        ge=0,
        validation_alias=AliasChoices("learned", "learnt"),
        description="Number of seed rows that are right in this iteration and were wrong in the previous one.",
        json_schema_extra=_formerly("learnt"),
    )
    forgotten: int = Field(
        0, ge=0, description="Number of seed rows that are wrong in this iteration and were right in the previous one."
    )
    paired: PairedStatus | None = Field(
        None, description="Row-by-row comparison with the iteration to beat; earlyStopping is decided by it."
    )
    metrics: list[MetricStatus] = Field(
        default_factory=list, max_length=METRICS_LIMIT, description="Scores with their confidence intervals."
    )
    steps: list[StepRecord] = Field(
        default_factory=list,
        max_length=8,
        description="Steps of the iteration that have ended.",
        json_schema_extra=_keyed("stage", "outcome"),
    )


class RetryCounts(StatusModel):
    transient: int = Field(0, ge=0, description="Number of retries after transient failures.")
    out_of_memory: int = Field(0, ge=0, description="Number of retries after running out of GPU memory.")
    job_deleted: int = Field(0, ge=0, description="Number of retries after the Job was deleted.")
    refused: int | None = Field(
        None, ge=0, description="Number of pods in a row that a kubelet refused, so that the step was not started."
    )
    """None instead of 0: an upgrade writes nothing to a run that it finds at work."""


class TeacherUsage(StatusModel):
    requests: int = Field(0, ge=0, description="Number of requests.")
    input_tokens: int = Field(0, ge=0, description="Number of tokens sent to the teacher.")
    output_tokens: int = Field(0, ge=0, description="Number of tokens received from the teacher.")


class CurrentStep(StatusModel):
    stage: str = Field(max_length=16, description=STAGE_NAMES)
    iteration: int = Field(0, ge=0, description="Number of the iteration, counted from 0.")
    attempt: int = Field(0, ge=0, description="Number of the attempt, counted from 0; each attempt is one Job.")
    kind: str = Field(
        "Run", max_length=16, description="Run; or Collect, which only reads the report of the step from its manifest."
    )
    micro_batch: int = Field(
        0, ge=0, description="Upper limit of the micro-batch size after running out of GPU memory; 0: none."
    )
    job_name: str = Field("", max_length=253, description="Name of the attempt's Job.")
    job_uid: str = Field("", alias="jobUID", max_length=64, description="UID of that Job, once it has been observed.")
    state: str = Field(
        "Pending", max_length=32, description="Pending, Queued, Running, BackingOff, Replacing or Stopping."
    )
    since: str = Field("", max_length=64, description="When the step entered this state.")
    message: str = Field("", max_length=STEP_MESSAGE_LIMIT, description="Why the previous attempt ended.")
    active_seconds: int = Field(0, ge=0, description="Seconds that the containers of its earlier attempts ran.")
    counted_until: str = Field(
        "", max_length=64, description="activeSeconds includes all containers that ended up to this time."
    )
    disruptions: int = Field(0, ge=0, description="Number of pods of this step that were evicted or preempted.")
    requeues: int = Field(
        0, ge=0, description="Number of times that a queue suspended the step's Jobs while their containers ran."
    )
    retries: RetryCounts = Field(default_factory=RetryCounts, description="Number of retries so far, by cause.")
    teacher_usage: TeacherUsage = Field(
        default_factory=TeacherUsage,
        description="Teacher usage reported by the attempts so far; already included in status.usage.",
    )

    @property
    def id(self) -> StepId:
        """Iteration and stage of the step."""
        return StepId(Stage(self.stage), self.iteration)

    @property
    def collects(self) -> bool:
        """Whether this attempt only reads the report of a committed step again."""
        return self.kind == Kind.COLLECT


class BestStatus(StatusModel):
    iteration: int = Field(ge=0, description="Number of the best iteration.")
    metric: str = Field("accuracy", max_length=64, description="Score that selected it: spec.objective.metric.")
    dataset: str = Field(max_length=DATASET_LIMIT, description="evaluation, or seed if there is no evaluation set.")
    value: str = Field(max_length=16, description="The score.")
    examples: int = Field(ge=0, description="Number of rows that the score was computed from.")
    low: str = Field(max_length=16, description="Lower bound of the 95 % confidence interval.")
    high: str = Field(max_length=16, description="Upper bound of the 95 % confidence interval.")
    model_uri: str = Field("", max_length=URI_LIMIT, description="URI of the adapter or model.")
    digest: str = Field("", max_length=DIGEST_LIMIT, description="Digest of the training step's output.")


class FinalTest(StatusModel):
    iteration: int = Field(ge=0, description="Number of the iteration whose adapter was scored.")
    metric: str = Field("accuracy", max_length=64, description="Name of the score.")
    value: str = Field(max_length=16, description="The score on the test set: the number to report.")
    examples: int = Field(ge=0, description="Number of rows that the score was computed from.")
    low: str = Field(max_length=16, description="Lower bound of the 95 % confidence interval.")
    high: str = Field(max_length=16, description="Upper bound of the 95 % confidence interval.")
    times_scored: int = Field(
        1, ge=0, description="Number of times that the test set was scored; each time makes it less independent."
    )


class UsageStatus(StatusModel):
    teacher_requests: int = Field(0, ge=0, description="Number of requests that the teacher answered.")
    teacher_input_tokens: int = Field(0, ge=0, description="Number of tokens sent to the teacher.")
    teacher_output_tokens: int = Field(0, ge=0, description="Number of tokens received from the teacher.")
    gpu_seconds: int = Field(0, ge=0, description="GPUs multiplied by the seconds that containers held them.")
    cost: str = Field("", max_length=32, description="Cost of teacher and GPUs, if spec.budget.prices are set.")
    projected_cost: str = Field(
        "",
        max_length=32,
        description="Projected cost of all iterations, assuming that those to come cost as much as those so far.",
    )


class Summary(StatusModel):
    """Values of the printer columns; strings, because a printer column cannot format."""

    accuracy: str = Field(
        "",
        max_length=64,
        description="Best score with its confidence interval; the metric is named if it is not accuracy.",
    )
    mistakes: str = Field(
        "",
        max_length=64,
        description="Number of mistakes in the newest evaluation, out of the number of rows evaluated.",
    )
    cost: str = Field("", max_length=64, description="Cost if prices are set, else teacher tokens.")


class ResolvedStatus(StatusModel):
    model_revision: str = Field("", max_length=REVISION_LIMIT, description="Commit or digest of the base model.")
    engine: str = Field("", max_length=ENGINE_LIMIT, description="Inference engine of the evaluation.")


class RunStatus(StatusModel):
    observed_generation: int = Field(0, ge=0, description="metadata.generation that the operator last acted on.")
    phase: str = Field("", max_length=16, description="Pending, Queued, Running, Suspended, Succeeded or Failed.")
    message: str = Field(
        "", max_length=MESSAGE_LIMIT, description="One line that says what the run is doing or why it is waiting."
    )
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Conditions, by type.", json_schema_extra=_keyed("type")
    )
    start_time: str = Field("", max_length=64, description="When the run was accepted.")
    completion_time: str = Field("", max_length=64, description="When the run completed or failed.")
    active_seconds: int = Field(
        0, ge=0, description="Seconds that containers have run, not counting the one that is running now."
    )
    active_since: str = Field("", max_length=64, description="When the container that is running now started.")
    retry: int = Field(0, ge=0, description="The value of spec.retry that was last acted on.")
    images: dict[str, str] = Field(
        default_factory=dict, description="Images pinned when the run was accepted, by stage."
    )
    resolved: ResolvedStatus = Field(default_factory=ResolvedStatus, description="What Prepare resolved.")
    current_iteration: int = Field(0, ge=0, description="Iteration in progress, from 0.")
    current_step: CurrentStep | None = Field(None, description="The step in progress.")
    steps: list[StepRecord] = Field(
        default_factory=list,
        max_length=8,
        description="Steps that belong to no iteration and have ended.",
        json_schema_extra=_keyed("stage", "outcome"),
    )
    seed_count: int = Field(0, ge=0, description="Number of rows in the seed set.")
    evaluation_count: int = Field(0, ge=0, description="Number of rows in the evaluation set.")
    inputs_digest: str = Field("", max_length=DIGEST_LIMIT, description="Digest of the frozen inputs.")
    evaluation_digest: str = Field("", max_length=DIGEST_LIMIT, description="Digest of the frozen evaluation set.")
    artifacts_uri: str = Field(
        "", max_length=URI_LIMIT, description="Folder that holds everything that the run produces."
    )
    test_count: int = Field(0, ge=0, description="Number of rows in the test set.")
    best: BestStatus | None = Field(
        None,
        description="The best iteration so far. With errorsFrom: Probe, only the closing iteration can be the best.",
    )
    test: FinalTest | None = Field(
        None, description="Score of the best adapter on the test set, once the loop is over."
    )
    usage: UsageStatus = Field(default_factory=UsageStatus, description="What the run has spent, over all attempts.")
    summary: Summary = Field(default_factory=Summary, description="Values of the columns of kubectl get.")
    iterations: list[IterationStatus] = Field(
        default_factory=list,
        max_length=128,
        description="The iterations and their results.",
        json_schema_extra=_keyed("index"),
    )

    @property
    def step(self) -> CurrentStep:
        """The step in progress.

        Raises:
            ValueError: there is none.
        """
        if self.current_step is None:
            raise ValueError("no step is in progress")
        return self.current_step

    def with_step(self, **changes: Any) -> RunStatus:
        """Returns a copy with these fields of the step in progress changed."""
        return self.updated(current_step=self.step.updated(**changes))

    def to_document(self) -> dict[str, Any]:
        """Returns the status as it is written, without empty values, so that `kubectl get -o yaml` reads well."""
        return _without_empty(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    def condition(self, kind: str) -> Condition | None:
        """Returns the condition of this type, or None if it was never set."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def is_true(self, kind: str) -> bool:
        """Returns whether the condition of this type is True."""
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in document.items():
        if isinstance(value, dict):
            value = _without_empty(value)  # noqa: PLW2901
        elif isinstance(value, list):
            value = [_without_empty(item) if isinstance(item, dict) else item for item in value]  # noqa: PLW2901
        if value not in ("", [], {}):
            kept[name] = value
    return kept

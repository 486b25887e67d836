"""The status of a run, typed, as the operator reads and writes it.

Status fields that a newer operator wrote are kept (`extra="allow"`), and the CRD's status schema is generated from
these models, because a field that the schema does not know would be pruned silently.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from llm2llm.loop.outcomes import StepId
from llm2llm.records import Kind, Stage

FORMER_NAME = "x-llm2llm-former-name"
MESSAGE_LIMIT = 4096
"""Characters of a condition's message."""
STEP_MESSAGE_LIMIT = 1024


def _keyed(*keys: str) -> dict[str, Any]:
    """A list in which no two entries have the same key: the API server refuses a status with such."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def _formerly(name: str) -> dict[str, Any]:
    """A field that had another name: a stored status with that one must still pass the API server's schema."""
    return {FORMER_NAME: name}


class StatusModel(BaseModel):
    """camelCase outside; unknown fields of a newer version survive."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="allow")

    def updated(self, **changes: Any) -> Self:
        """A copy with these fields changed.

        Raises:
            TypeError: there is no field of this name. `model_copy` would take it, and the API server be sent it.
        """
        unknown = changes.keys() - type(self).model_fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        return self.model_copy(update=changes)


class Condition(StatusModel):
    type: str = Field(max_length=64, description="Complete, Failed, Suspended, Progressing, Reconciling or Stalled.")
    status: str = Field(max_length=16, description="True, False or Unknown.")
    reason: str = Field(max_length=128, description="CamelCase reason.")
    message: str = Field("", max_length=MESSAGE_LIMIT, description="For people.")
    last_transition_time: str = Field(max_length=64, description="When status changed last.")
    observed_generation: int = Field(0, ge=0, description="metadata.generation that this is about.")


class MetricStatus(StatusModel):
    name: str = Field(max_length=64, description="accuracy or macroF1.")
    dataset: str = Field(
        max_length=32, description="seed, probe (seed rows left out of training), synthetic, evaluation or test."
    )
    value: str = Field(max_length=16, description="The score, four decimals.")
    examples: int = Field(ge=0, description="Rows that it was computed from.")
    low: str = Field(
        max_length=16, description="Lower end of the 95 % interval: Wilson's for accuracy, bootstrap's for macroF1."
    )
    high: str = Field(max_length=16, description="Upper end of the 95 % interval.")


class PairedStatus(StatusModel):
    """Two iterations' verdicts on the same rows."""

    against: int = Field(ge=0, description="The iteration to beat when this one was evaluated.")
    dataset: str = Field(max_length=32, description="The set that the objective is judged on.")
    examples: int = Field(ge=1, description="Rows that both were asked.")
    gained: int = Field(ge=0, description="Rows that only this iteration got right.")
    lost: int = Field(ge=0, description="Rows that only the iteration to beat got right.")


class StepRecord(StatusModel):
    """The ledger: a step that ended."""

    stage: str = Field(max_length=16, description="Prepare, Train, Evaluate, Generate or Test.")
    attempt: int = Field(ge=0, description="The attempt that ended the step, from 0.")
    kind: str = Field("Run", max_length=16, description="Run, or Collect: the report was read again from the manifest.")
    job_uid: str = Field("", alias="jobUID", max_length=64, description="UID of the Job of that attempt.")
    outcome: str = Field(max_length=16, description="Succeeded or Failed.")
    reason: str = Field("", max_length=64, description="Why it failed.")
    start_time: str = Field("", max_length=64, description="When its container started.")
    completion_time: str = Field("", max_length=64, description="When its container ended.")
    active_seconds: int = Field(0, ge=0, description="Seconds that its containers ran.")
    digest: str = Field("", max_length=128, description="Digest of the committed output.")
    model_uri: str = Field("", max_length=2048, description="Train only: where the adapter lies.")
    micro_batch: int = Field(
        0,
        ge=0,
        description="Train only: the ceiling of the micro-batch after GPU out of memory, which later trainings keep.",
    )


class IterationStatus(StatusModel):
    index: int = Field(
        ge=0, description="Iteration, from 0. 100 + n is the closing one after n probing ones (spec.errorsFrom)."
    )
    train_examples: int = Field(0, ge=0, description="Rows of D(i).")
    optimizer_steps: int = Field(0, ge=0, description="Optimizer steps of its training.")
    mistakes: int = Field(
        0,
        ge=0,
        description="Rows that the teacher writes for: seed rows that the student of this iteration got wrong, and "
        "synthetic ones where augmentFrom is SeedAndSynthetic. metrics tells each set for itself.",
    )
    generated: int = Field(0, ge=0, description="Rows that the teacher wrote.")
    kept: int = Field(0, ge=0, description="Rows that the filters kept.")
    learned: int = Field(
        0,
        ge=0,
        validation_alias=AliasChoices("learned", "learnt"),
        description="Seed rows that are right and were wrong in the iteration before.",
        json_schema_extra=_formerly("learnt"),
    )
    forgotten: int = Field(0, ge=0, description="Seed rows that are wrong and were right in the iteration before.")
    paired: PairedStatus | None = Field(
        None, description="Row by row against the iteration to beat; earlyStopping is judged by it."
    )
    metrics: list[MetricStatus] = Field(default_factory=list, max_length=8, description="Scores with their intervals.")
    steps: list[StepRecord] = Field(
        default_factory=list,
        max_length=8,
        description="Steps that ended.",
        json_schema_extra=_keyed("stage", "outcome"),
    )


class RetryCounts(StatusModel):
    transient: int = Field(0, ge=0, description="Attempts after a transient failure.")
    out_of_memory: int = Field(0, ge=0, description="Attempts after GPU out of memory.")
    job_deleted: int = Field(0, ge=0, description="Attempts after the Job was deleted.")


class TeacherUsage(StatusModel):
    requests: int = Field(0, ge=0, description="Requests.")
    input_tokens: int = Field(0, ge=0, description="Tokens sent.")
    output_tokens: int = Field(0, ge=0, description="Tokens received.")


class CurrentStep(StatusModel):
    stage: str = Field(max_length=16, description="Prepare, Train, Evaluate, Generate or Test.")
    iteration: int = Field(0, ge=0, description="Iteration, from 0.")
    attempt: int = Field(0, ge=0, description="Attempt, from 0: one Job each.")
    kind: str = Field("Run", max_length=16, description="Run, or Collect: read the report again from the manifest.")
    micro_batch: int = Field(0, ge=0, description="Ceiling of the micro-batch after GPU out of memory; 0: none.")
    job_name: str = Field("", max_length=253, description="Name of the attempt's Job.")
    job_uid: str = Field("", alias="jobUID", max_length=64, description="UID of that Job, once it was seen.")
    state: str = Field("Pending", max_length=32, description="Pending, Queued, Running, BackingOff or Stopping.")
    since: str = Field("", max_length=64, description="When state began.")
    message: str = Field("", max_length=STEP_MESSAGE_LIMIT, description="Why the attempt before this one ended.")
    active_seconds: int = Field(0, ge=0, description="Seconds that containers of its earlier attempts ran.")
    counted_until: str = Field("", max_length=64, description="Containers that ended until then are in activeSeconds.")
    disruptions: int = Field(0, ge=0, description="Pods of this step that were evicted or preempted.")
    retries: RetryCounts = Field(default_factory=RetryCounts, description="Attempts spent, by cause.")
    teacher_usage: TeacherUsage = Field(
        default_factory=TeacherUsage, description="What its attempts told of the teacher so far; part of usage already."
    )

    @property
    def id(self) -> StepId:
        """Its place in the run."""
        return StepId(Stage(self.stage), self.iteration)

    @property
    def collects(self) -> bool:
        """Whether this attempt only reads the report of a committed step again."""
        return self.kind == Kind.COLLECT


class BestStatus(StatusModel):
    iteration: int = Field(ge=0, description="Iteration of the best adapter, as in the iteration table.")
    metric: str = Field("accuracy", max_length=64, description="Score that chose it: spec.objective.metric.")
    dataset: str = Field(max_length=32, description="evaluation, or seed where there is no evaluation set.")
    value: str = Field(max_length=16, description="Its score.")
    examples: int = Field(ge=0, description="Rows behind the score.")
    low: str = Field(max_length=16, description="Lower end of the 95 % interval.")
    high: str = Field(max_length=16, description="Upper end of the 95 % interval.")
    model_uri: str = Field("", max_length=2048, description="Where the adapter lies.")
    digest: str = Field("", max_length=128, description="Digest of the training step's output.")


class FinalTest(StatusModel):
    iteration: int = Field(ge=0, description="Iteration whose adapter was scored.")
    metric: str = Field("accuracy", max_length=64, description="Name of the score.")
    value: str = Field(max_length=16, description="The score on the test set: the number to report.")
    examples: int = Field(ge=0, description="Rows behind the score.")
    low: str = Field(max_length=16, description="Lower end of the 95 % interval.")
    high: str = Field(max_length=16, description="Upper end of the 95 % interval.")
    times_scored: int = Field(
        1, ge=0, description="How often the test set was looked at; each look makes it less of a test."
    )


class UsageStatus(StatusModel):
    teacher_requests: int = Field(0, ge=0, description="Requests that the teacher answered.")
    teacher_input_tokens: int = Field(0, ge=0, description="Tokens sent.")
    teacher_output_tokens: int = Field(0, ge=0, description="Tokens received.")
    gpu_seconds: int = Field(0, ge=0, description="GPUs times the seconds that containers had them.")
    cost: str = Field("", max_length=32, description="Money for both, where spec.budget.prices are set.")
    projected_cost: str = Field(
        "", max_length=32, description="Cost of all iterations, if those to come cost as much as those so far."
    )


class Summary(StatusModel):
    """Strings, because a printer column cannot format."""

    accuracy: str = Field("", max_length=64, description="Best score with its interval; named where it is no accuracy.")
    mistakes: str = Field(
        "", max_length=64, description="Mistakes of the newest evaluation, and the rows that they are among."
    )
    cost: str = Field("", max_length=64, description="Money where there are prices, else teacher tokens.")


class ResolvedStatus(StatusModel):
    model_revision: str = Field("", max_length=256, description="Commit or digest of the base model.")
    engine: str = Field("", max_length=32, description="Engine of the evaluation.")


class RunStatus(StatusModel):
    observed_generation: int = Field(0, ge=0, description="metadata.generation that the operator acted on last.")
    phase: str = Field("", max_length=16, description="Pending, Queued, Running, Suspended, Succeeded or Failed.")
    message: str = Field("", max_length=MESSAGE_LIMIT, description="One line on what the run does or why it waits.")
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Conditions, by type.", json_schema_extra=_keyed("type")
    )
    start_time: str = Field("", max_length=64, description="When the run was accepted.")
    completion_time: str = Field("", max_length=64, description="When it was complete or failed.")
    active_seconds: int = Field(0, ge=0, description="Seconds that containers of ended attempts were running.")
    active_since: str = Field("", max_length=64, description="Since when the container that runs now is running.")
    retry: int = Field(0, ge=0, description="The spec.retry that was acted on last.")
    images: dict[str, str] = Field(
        default_factory=dict, description="Images pinned when the run was accepted, by stage."
    )
    resolved: ResolvedStatus = Field(default_factory=ResolvedStatus, description="What Prepare found out.")
    current_iteration: int = Field(0, ge=0, description="Iteration in progress, from 0.")
    current_step: CurrentStep | None = Field(None, description="The step in progress.")
    steps: list[StepRecord] = Field(
        default_factory=list,
        max_length=8,
        description="The run's own steps that ended.",
        json_schema_extra=_keyed("stage", "outcome"),
    )
    seed_count: int = Field(0, ge=0, description="Rows of the seed set.")
    evaluation_count: int = Field(0, ge=0, description="Rows of the evaluation set.")
    inputs_digest: str = Field("", max_length=128, description="Digest of the frozen inputs.")
    evaluation_digest: str = Field("", max_length=128, description="Digest of the frozen evaluation set.")
    artifacts_uri: str = Field("", max_length=2048, description="Folder of everything that the run makes.")
    test_count: int = Field(0, ge=0, description="Rows of the test set.")
    best: BestStatus | None = Field(
        None, description="The best iteration so far; where errorsFrom is Probe the closing one, none before it."
    )
    test: FinalTest | None = Field(None, description="The best adapter on the test set, when the loop is over.")
    usage: UsageStatus = Field(default_factory=UsageStatus, description="What was spent, over all attempts.")
    summary: Summary = Field(default_factory=Summary, description="What the printer columns show.")
    iterations: list[IterationStatus] = Field(
        default_factory=list, max_length=128, description="The iteration table.", json_schema_extra=_keyed("index")
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
        """A copy with these fields of the step in progress changed."""
        return self.updated(current_step=self.step.updated(**changes))

    def to_document(self) -> dict[str, Any]:
        """The status as it is written: what is empty is left out, so that `kubectl get -o yaml` reads well."""
        return _without_empty(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, if it was ever set."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def is_true(self, kind: str) -> bool:
        """Whether the condition of this type is True."""
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

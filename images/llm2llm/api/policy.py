"""The part of the API that says how far a run may go: goal, stopping, retries, budget, approval, queue."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from llm2llm.api.base import Decimals, Fraction, Model, ShortText


class Objective(Model):
    metric: Literal["accuracy", "macroF1"] = Field(
        "accuracy",
        description="Score that chooses the best iteration, and that goal and earlyStopping are about. macroF1, the "
        "mean of the classes' F1, counts rare classes as much as frequent ones; it needs a task with labels.",
    )
    goal: Fraction | None = Field(None, description="The run is complete once the metric reaches this value.")


class EarlyStopping(Model):
    patience: int = Field(
        ge=3,
        le=64,
        description="Iterations without an improvement after which the run is complete. An improvement in accuracy is "
        "judged on the same rows: more gained than lost against the iteration to beat, by minDelta and by more than "
        "chance explains (one-sided exact sign test, level .05); one in macroF1 by minDelta alone.",
    )
    min_delta: Fraction = Field(
        "0.005", description="Smallest gain that counts as an improvement, as a share of the rows; at least one row."
    )


class Retries(Model):
    transient: int = Field(3, ge=0, le=100, description="Attempts after a transient failure.")
    out_of_memory: int = Field(
        3, ge=0, le=20, description="Attempts with half the micro-batch after GPU out of memory."
    )
    job_deleted: int = Field(1, ge=0, le=20, description="Attempts after somebody deleted the Job.")


class Prices(Model):
    """In one currency, whichever the user reckons in."""

    input_per_million: Decimals = Field("0", description="Price of a million tokens sent to the teacher.")
    output_per_million: Decimals = Field("0", description="Price of a million tokens that the teacher wrote.")
    gpu_hour: Decimals = Field("0", description="Price of one GPU for an hour.")


class Budget(Model):
    max_teacher_tokens: int | None = Field(
        None, ge=1, le=10**15, description="Tokens sent and received, over all iterations and attempts."
    )
    max_cost: Decimals | None = Field(None, description="Money for teacher and GPUs together; needs prices.")
    max_gpu_hours: Decimals | None = Field(
        None, alias="maxGPUHours", description="GPUs times the hours that containers had them, over all attempts."
    )
    prices: Prices | None = Field(None, description="What tokens and GPUs cost; status.usage.cost needs them, too.")
    on_exceeded: Literal["Suspend", "Complete", "Fail"] = Field(
        "Suspend",
        description="Suspend waits until the budget is raised; Complete ends with the best adapter so far; Fail fails.",
    )

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> Self:
        if self.max_cost is not None and self.prices is None:
            raise ValueError("maxCost needs prices")
        return self


class Approval(Model):
    mode: Literal["Never", "BeforeTraining"] = Field(
        "Never", description="BeforeTraining holds the run until a person has released the newest synthetic set."
    )
    approved_rounds: int = Field(0, ge=0, le=64, description="How many synthetic sets a person has released so far.")


class Scheduling(Model):
    queue_name: Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)] = (
        Field("", description="Kueue LocalQueue; written as the label kueue.x-k8s.io/queue-name.")
    )
    workload_priority_class_name: ShortText = Field(
        "", description="Kueue WorkloadPriorityClass; written as the label kueue.x-k8s.io/priority-class."
    )
    priority_class_name: ShortText = Field("", description="PriorityClass of the pods.")

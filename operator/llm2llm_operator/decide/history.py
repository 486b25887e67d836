"""Keeps the history of a run in its status: ledger, iteration table, best iteration, printer fields. Pure.

`outcomes` reads the ledger for the loop, `record_success` and `record_stop` write a step into it, and `with_best` picks
the best iteration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stages import STAGES
from llm2llm.loop.stopping import Best, best_iteration, pool_size
from llm2llm.records import ACCURACY, Metric, Paired, Report, Stage
from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.model.status import (
    BestStatus,
    FinalTest,
    IterationStatus,
    MetricStatus,
    PairedStatus,
    ResolvedStatus,
    RunStatus,
    StepRecord,
)


def outcomes(status: RunStatus) -> list[StepResult]:
    """Returns the committed steps in the form that the loop decides by."""
    results = [StepResult(StepId(Stage(record.stage)), record.digest) for record in status.steps if _succeeded(record)]
    for row in status.iterations:
        for record in row.steps:
            if _succeeded(record):
                stage = Stage(record.stage)
                results.append(
                    StepResult(
                        step=StepId(stage, row.index),
                        digest=record.digest,
                        metrics=tuple(_metric(metric) for metric in row.metrics) if stage is Stage.EVALUATE else (),
                        mistakes=row.mistakes,
                        kept=row.kept,
                        model_uri=record.model_uri,
                        paired=_paired(row) if stage is Stage.EVALUATE else None,
                    )
                )
    return results


def record_success(status: RunStatus, report: Report, record: StepRecord, spec: AugmentationRunSpec) -> RunStatus:
    """Records the step in progress, which is committed, in the ledger, the iteration table and the printer fields."""
    record = record.updated(digest=report.digest, model_uri=report.model_uri)
    if report.stage is Stage.PREPARE:
        resolved = report.resolved
        updates: dict[str, Any] = {"steps": [*status.steps, record], "inputs_digest": report.digest}
        if resolved:
            updates |= {
                "resolved": ResolvedStatus(model_revision=resolved.model_revision, engine=resolved.engine),
                "seed_count": resolved.seed_count,
                "evaluation_count": resolved.evaluation_count,
                "test_count": resolved.test_count,
                "evaluation_digest": resolved.evaluation_digest,
            }
        return status.updated(**updates)
    row = _row(status, status.step.iteration)
    changes: dict[str, Any] = {"steps": [*_others(row.steps, record), record]}
    match report.stage:
        case Stage.TRAIN:
            changes |= {"train_examples": report.train_examples, "optimizer_steps": report.optimizer_steps}
        case Stage.EVALUATE:
            changes |= {
                "mistakes": report.mistakes,
                "learned": report.learned,
                "forgotten": report.forgotten,
                "paired": PairedStatus(**report.paired.model_dump()) if report.paired else None,
                "metrics": [_metric_status(m) for m in report.metrics],
            }
        case Stage.GENERATE:
            changes |= {"generated": report.generated, "kept": report.kept}
        case Stage.TEST:
            status = _with_test(status, report)
    status = _with_row(status, row.updated(**changes))
    if report.stage is not Stage.EVALUATE:
        return status
    pool = pool_size(report.metrics) or status.seed_count
    summary = status.summary.updated(mistakes=f"{report.mistakes}/{pool}")
    return with_best(status.updated(summary=summary), spec)


def record_stop(status: RunStatus, reason: str) -> RunStatus:
    """Records that the run ends without finishing the step in progress.

    If the run continues later, attempts are counted on from this record.
    """
    step = status.step
    record = StepRecord(
        stage=step.stage,
        attempt=step.attempt,
        kind=step.kind,
        outcome="Failed",
        reason=str(reason),
        active_seconds=step.active_seconds,
    )
    if STAGES[step.id.stage].once:
        return status.updated(steps=[*_others(status.steps, record), record])
    row = _row(status, step.iteration)
    row = row.updated(steps=[*_others(row.steps, record), record])
    return _with_row(status, row)


def attempts_of(status: RunStatus, step: StepId) -> int:
    """Returns the number of attempts of a step in the ledger, which is the number of the next one."""
    ledgers = (
        [status.steps] if STAGES[step.stage].once else [r.steps for r in status.iterations if r.index == step.iteration]
    )
    attempts = [record.attempt for row in ledgers for record in row if record.stage == step.stage.value]
    return max(attempts, default=-1) + 1


def micro_batch_ceiling(status: RunStatus) -> int:
    """Returns the micro-batch limit of the last training after it ran out of GPU memory; 0: none.

    Without it the next training would run out of memory again.
    """
    trainings = [record for row in status.iterations for record in row.steps if record.stage == Stage.TRAIN]
    return trainings[-1].micro_batch if trainings else 0


def _row(status: RunStatus, iteration: int) -> IterationStatus:
    """Returns the row of an iteration, or an empty one if it has none yet."""
    return next((row for row in status.iterations if row.index == iteration), IterationStatus(index=iteration))


def _with_row(status: RunStatus, row: IterationStatus) -> RunStatus:
    """Returns the status with this row in place of the one of the same iteration."""
    rows = [other for other in status.iterations if other.index != row.index] + [row]
    return status.updated(iterations=sorted(rows, key=lambda r: r.index))


def _others(records: list[StepRecord], new: StepRecord) -> list[StepRecord]:
    """Returns the records that a new one leaves: a step has at most one record of each outcome, the newest."""
    return [record for record in records if (record.stage, record.outcome) != (new.stage, new.outcome)]


def _with_test(status: RunStatus, report: Report) -> RunStatus:
    """Returns the status with the test score: of the metric that selected best, or accuracy if it was not reported."""
    chosen_by = status.best.metric if status.best else ACCURACY
    test_metrics = [metric for metric in report.metrics if metric.dataset == "test"]
    score = _metric_status(next((metric for metric in test_metrics if metric.name == chosen_by), test_metrics[0]))
    test = FinalTest(
        iteration=report.iteration,
        metric=score.name,
        value=score.value,
        examples=score.examples,
        low=score.low,
        high=score.high,
        times_scored=(status.test.times_scored if status.test else 0) + 1,
    )
    return status.updated(test=test)


def _succeeded(record: StepRecord) -> bool:
    return record.outcome == "Succeeded"


def with_best(status: RunStatus, spec: AugmentationRunSpec, *, ended: bool = False) -> RunStatus:
    """Returns the status with the best iteration by the current objective, which may change; `ended` as in
    `best_iteration`.
    """
    best = best_iteration(spec, outcomes(status), ended=ended)
    if best is None:
        summary = status.summary.updated(accuracy="")
        return status.updated(best=None, summary=summary)
    summary = status.summary.updated(accuracy=_with_interval(best.metric))
    return status.updated(best=_best_status(best), summary=summary)


def _best_status(best: Best) -> BestStatus:
    score = _metric_status(best.metric)
    return BestStatus(
        iteration=best.iteration,
        metric=score.name,
        dataset=score.dataset,
        value=score.value,
        examples=score.examples,
        low=score.low,
        high=score.high,
        model_uri=best.model_uri,
        digest=best.digest,
    )


def _with_interval(metric: Metric) -> str:
    name = "" if metric.name == ACCURACY else f"{metric.name} "
    return f"{name}{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _metric_status(metric: Metric) -> MetricStatus:
    return MetricStatus(
        name=metric.name,
        dataset=metric.dataset,
        value=f"{metric.value:.4f}",
        examples=metric.examples,
        low=f"{metric.low:.4f}",
        high=f"{metric.high:.4f}",
    )


def _paired(row: IterationStatus) -> Paired | None:
    return Paired(**row.paired.model_dump(include=set(Paired.model_fields))) if row.paired else None


def _metric(metric: MetricStatus) -> Metric:
    return Metric(
        name=metric.name,
        dataset=metric.dataset,
        value=float(metric.value),
        examples=metric.examples,
        low=float(metric.low),
        high=float(metric.high),
    )


def accepted(status: RunStatus, images: dict[str, str], uri: str, now: datetime) -> RunStatus:
    """Returns the first status of a run, with its images pinned, so that an operator upgrade changes no experiment."""
    return status.updated(start_time=timestamp(now), images=images, artifacts_uri=uri)

"""Status of a run as a pure function of what happened: conditions, phase, iteration table, best, printer fields."""

from __future__ import annotations

from datetime import datetime

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stopping import Best, best_iteration, pool_size
from llm2llm.records import ACCURACY, Metric, Paired, Report, Stage
from llm2llm_operator.constants import COMPLETE, FAILED, PROGRESSING, RECONCILING, STALLED, SUSPENDED
from llm2llm_operator.model.status import (
    BestStatus,
    Condition,
    CurrentStep,
    FinalTest,
    IterationStatus,
    MetricStatus,
    PairedStatus,
    ResolvedStatus,
    RunStatus,
    StepRecord,
)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in seconds, as Kubernetes writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def with_condition(
    status: RunStatus, kind: str, value: bool, reason: str, message: str, *, now: datetime, generation: int
) -> RunStatus:
    """Sets one condition; its transition time changes only with its value."""
    old = status.condition(kind)
    text = "True" if value else "False"
    since = old.last_transition_time if old and old.status == text else timestamp(now)
    new = Condition(
        type=kind,
        status=text,
        reason=reason,
        message=message[:4096],
        last_transition_time=since,
        observed_generation=generation,
    )
    others = [condition for condition in status.conditions if condition.type != kind]
    if old and old.model_copy(update={"observed_generation": generation}) == new:
        return status
    index = next((i for i, c in enumerate(status.conditions) if c.type == kind), len(others))
    return status.model_copy(update={"conditions": [*others[:index], new, *others[index:]]})


def observed(status: RunStatus, kind: str, generation: int) -> RunStatus:
    """The condition was judged again for this generation of the spec, and holds."""
    conditions = [
        condition.model_copy(update={"observed_generation": generation}) if condition.type == kind else condition
        for condition in status.conditions
    ]
    return status.model_copy(update={"conditions": conditions})


def progressing(
    status: RunStatus, reason: str, message: str, *, value: bool, now: datetime, generation: int
) -> RunStatus:
    """The condition Progressing and the one-line message beside it."""
    status = with_condition(status, PROGRESSING, value, reason, message, now=now, generation=generation)
    return status.model_copy(update={"message": message[:4096]})


def failed(status: RunStatus, reason: str, message: str, *, now: datetime, generation: int) -> RunStatus:
    """Ends the run with Failed (kstatus: Stalled mirrors it); recorded successes stay."""
    status = with_condition(status, FAILED, True, reason, message, now=now, generation=generation)
    status = with_condition(status, STALLED, True, reason, message, now=now, generation=generation)
    status = with_condition(status, RECONCILING, False, reason, "", now=now, generation=generation)
    status = progressing(status, reason, message, value=False, now=now, generation=generation)
    return status.model_copy(update={"completion_time": timestamp(now)})


def complete(status: RunStatus, reason: str, message: str, *, now: datetime, generation: int) -> RunStatus:
    """Ends the run with Complete."""
    status = with_condition(status, COMPLETE, True, reason, message, now=now, generation=generation)
    status = progressing(status, reason, message, value=False, now=now, generation=generation)
    return status.model_copy(update={"completion_time": timestamp(now), "active_since": "", "current_step": None})


def phase_of(status: RunStatus) -> str:
    """Phase for people, derived from the conditions; nothing ever decides by it."""
    if status.is_true(COMPLETE):
        return "Succeeded"
    if status.is_true(FAILED):
        return "Failed"
    if status.is_true(SUSPENDED):
        return "Suspended"
    condition = status.condition(PROGRESSING)
    if condition and condition.reason == "Queued":
        return "Queued"
    started = bool(status.steps) or (status.current_step is not None and status.current_step.state == "Running")
    return "Running" if started else "Pending"


def outcomes(status: RunStatus) -> list[StepResult]:
    """The committed steps in the form that the loop decides by."""
    found = [StepResult(StepId(Stage(record.stage)), record.digest) for record in status.steps if _succeeded(record)]
    for row in status.iterations:
        for record in row.steps:
            if _succeeded(record):
                stage = Stage(record.stage)
                found.append(
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
    return found


def record_success(
    status: RunStatus, current: CurrentStep, report: Report, record: StepRecord, spec: AugmentationRunSpec
) -> RunStatus:
    """Enters a committed step into the ledger, the iteration table, best and the printer fields."""
    record = record.model_copy(update={"digest": report.digest, "model_uri": report.model_uri})
    if report.stage is Stage.PREPARE:
        resolved = report.resolved
        updates: dict[str, object] = {"steps": [*status.steps, record], "inputs_digest": report.digest}
        if resolved:
            updates |= {
                "resolved": ResolvedStatus(model_revision=resolved.model_revision, engine=resolved.engine),
                "seed_count": resolved.seed_count,
                "evaluation_count": resolved.evaluation_count,
                "test_count": resolved.test_count,
                "evaluation_digest": resolved.evaluation_digest,
            }
        return status.model_copy(update=updates)
    row = _row(status, current.iteration)
    changes: dict[str, object] = {"steps": [*_others(row.steps, record), record]}
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
    status = _with_row(status, row.model_copy(update=changes))
    if report.stage is not Stage.EVALUATE:
        return status
    pool = pool_size(report.metrics) or status.seed_count
    summary = status.summary.model_copy(update={"mistakes": f"{report.mistakes}/{pool}"})
    return with_best(status.model_copy(update={"summary": summary}), spec)


def record_stop(status: RunStatus, current: CurrentStep, reason: str) -> RunStatus:
    """Enters a step that the run ended without: should the run go on, its attempts are counted from there."""
    record = StepRecord(
        stage=current.stage,
        attempt=current.attempt,
        kind=current.kind,
        outcome="Failed",
        reason=reason,
        active_seconds=current.active_seconds,
    )
    if current.stage == Stage.PREPARE:
        return status.model_copy(update={"steps": [*_others(status.steps, record), record]})
    row = _row(status, current.iteration)
    row = row.model_copy(update={"steps": [*_others(row.steps, record), record]})
    return _with_row(status, row)


def attempts_of(status: RunStatus, step: StepId) -> int:
    """Attempts of a step that the ledger knows of: the number of the next one."""
    rows = (
        [status.steps]
        if step.stage is Stage.PREPARE
        else [r.steps for r in status.iterations if r.index == step.iteration]
    )
    known = [record.attempt for row in rows for record in row if record.stage == step.stage.value]
    return max(known, default=-1) + 1


def micro_batch_ceiling(status: RunStatus) -> int:
    """What the last training was limited to after GPU out of memory; 0: nothing. The next would run into it again."""
    trainings = [record for row in status.iterations for record in row.steps if record.stage == Stage.TRAIN]
    return trainings[-1].micro_batch if trainings else 0


def _row(status: RunStatus, iteration: int) -> IterationStatus:
    """The row of an iteration, an empty one where it has none yet."""
    return next((row for row in status.iterations if row.index == iteration), IterationStatus(index=iteration))


def _with_row(status: RunStatus, row: IterationStatus) -> RunStatus:
    """The status with this row in the place of the one that it was made from."""
    rows = [other for other in status.iterations if other.index != row.index] + [row]
    return status.model_copy(update={"iterations": sorted(rows, key=lambda r: r.index)})


def _others(records: list[StepRecord], new: StepRecord) -> list[StepRecord]:
    """A step has one record of each outcome at most: the newest."""
    return [record for record in records if (record.stage, record.outcome) != (new.stage, new.outcome)]


def _with_test(status: RunStatus, report: Report) -> RunStatus:
    """The test set's score of the name that best was chosen by, and accuracy where it told none."""
    chosen_by = status.best.metric if status.best else ACCURACY
    of_test = [metric for metric in report.metrics if metric.dataset == "test"]
    score = _metric_status(next((metric for metric in of_test if metric.name == chosen_by), of_test[0]))
    test = FinalTest(
        iteration=report.iteration,
        metric=score.name,
        value=score.value,
        examples=score.examples,
        low=score.low,
        high=score.high,
        times_scored=(status.test.times_scored if status.test else 0) + 1,
    )
    return status.model_copy(update={"test": test})


def _succeeded(record: StepRecord) -> bool:
    return record.outcome == "Succeeded"


def with_best(status: RunStatus, spec: AugmentationRunSpec, *, ended: bool = False) -> RunStatus:
    """Which iteration is best by the objective as it is now, which may change; `ended` as in `best_iteration`."""
    best = best_iteration(spec, outcomes(status), ended=ended)
    if best is None:
        summary = status.summary.model_copy(update={"accuracy": ""})
        return status.model_copy(update={"best": None, "summary": summary})
    summary = status.summary.model_copy(update={"accuracy": _with_interval(best.metric)})
    return status.model_copy(update={"best": _best_status(best), "summary": summary})


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
    """The first status of a run: its images are pinned now, so an upgrade of the operator changes no experiment."""
    return status.model_copy(update={"start_time": timestamp(now), "images": images, "artifacts_uri": uri})

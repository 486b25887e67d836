"""Reads the result of an ended attempt: its report, its record for the ledger, and a description for people. Pure."""

from __future__ import annotations

import signal
from datetime import datetime

from pydantic import ValidationError

from llm2llm.loop.outcomes import StepResult
from llm2llm.loop.stopping import objective_metric
from llm2llm.records import Report, Stage
from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import AttemptEnd
from llm2llm_operator.model.observation import OOM_KILLED, Job, Pod
from llm2llm_operator.model.status import RunStatus, StepRecord

SIGNALED = 128
"""Added to the number of the signal that ended a process, in its exit code (POSIX shells, container runtimes)."""
NO_LOG = frozenset({"ContainerCannotRun", "ContainerStatusUnknown", "StartError"})
"""A kubelet's reasons for a container that wrote no log: the message is the kubelet's."""
TAIL_CHARACTERS = 600
"""Of a log, behind what ended the container: a step's message has 1,024 characters."""


def read_report(inputs: Inputs, status: RunStatus, pod: Pod | None) -> Report | None:
    """Parses the report in a pod's termination message; returns None if it is invalid or about another step."""
    if pod is None or not pod.message:
        return None
    try:
        report = Report.model_validate_json(pod.message)
    except ValidationError:
        return None
    step = status.step
    if (report.run_uid, report.stage.value, report.iteration) != (inputs.run.uid, step.stage, step.iteration):
        return None
    return report if report.exit_code or _has_score(report) else None


def _has_score(report: Report) -> bool:
    """Returns whether the report contains what later decisions need.

    An evaluation without the score that the loop decides by is not a result, nor is a test without a test score.
    """
    if report.stage is Stage.TEST:
        return any(metric.dataset == "test" for metric in report.metrics)
    try:
        return report.stage is not Stage.EVALUATE or bool(objective_metric(StepResult.of(report)))
    except ValueError:
        return False


def ending_of(job: Job, pod: Pod | None, report: Report | None) -> AttemptEnd:
    """Describes how an attempt without a result ended, from its last pod and its Job.

    The words of a kubelet about the pod come before those of the Job, which only knows that a pod failed.
    """
    if pod is None:
        return AttemptEnd(message=job.failure_message)
    if pod.never_ran:
        return _ending_before_start(job, pod)
    return AttemptEnd(
        exit_code=pod.exit_code,
        report=report,
        message=job.failure_message if report or pod.exit_code is None else _describe_exit(pod, pod.exit_code),
        pod_reason=pod.terminated_reason,
        rejection=f"pod {pod.name}: {pod.rejection}" if pod.rejection else "",
    )


def _describe_exit(pod: Pod, code: int) -> str:
    """Returns how a container ended that left no report: first by what, then the end of its log.

    A kubelet takes the end of the log for the termination message of a container that wrote none.
    """
    number = code - SIGNALED
    name = next((each.name for each in signal.Signals if each == number), "")
    cause = ", ".join(part for part in (f"exit code {code}", name, pod.terminated_reason) if part not in ("", "Error"))
    if pod.terminated_reason == OOM_KILLED:
        cause = f"killed for the memory that it took ({cause})"
    elif number == signal.SIGKILL:
        guess = "" if pod.rejection else ": perhaps the node ran out of memory, or a person did it"
        cause = f"killed ({cause}){guess}"
    tail = _last_lines(pod.message)
    of_the_kubelet = pod.terminated_reason in NO_LOG
    return f"{cause}{': ' if of_the_kubelet else '; the end of its log: '}{tail}" if tail else cause


def _last_lines(log: str) -> str:
    """Returns the last lines that fit; of a longer last line, its end."""
    lines = log.strip()
    if len(lines) <= TAIL_CHARACTERS:
        return lines
    cut = lines[-TAIL_CHARACTERS:]
    return cut.partition("\n")[2] or cut


def _ending_before_start(job: Job, pod: Pod) -> AttemptEnd:
    """Describes the end of a pod that never ran the step: an init container failed, or the kubelet refused the pod."""
    if pod.init is not None and pod.init.exit_code and not pod.rejection:
        words = f"pod {pod.name}: init container {pod.init.name} failed ({pod.init.words}); the step did not start"
        return AttemptEnd(message=words, unstarted=True)
    where = f" on node {pod.node}" if pod.node else ""
    words = pod.rejection or job.failure_message or "no reason is given"
    return AttemptEnd(message=f"pod {pod.name} ended{where} before it started: {words}", refused=True, unstarted=True)


def success_record(status: RunStatus, pod: Pod | None) -> StepRecord:
    """Returns the ledger's record of the attempt in progress, which succeeded."""
    step = status.step
    return StepRecord(
        stage=step.stage,
        attempt=step.attempt,
        kind=step.kind,
        job_uid=step.job_uid,
        outcome="Succeeded",
        start_time=_timestamp(pod.started if pod else None),
        completion_time=_timestamp(pod.finished if pod else None),
        active_seconds=step.active_seconds,
        micro_batch=step.micro_batch,
    )


def describe_result(report: Report) -> str:
    """Describes the result in a few words."""
    match report.stage:
        case Stage.PREPARE:
            return _with_message("inputs are frozen", report)
        case Stage.TRAIN:
            return _with_message(f"{report.train_examples} examples, {report.optimizer_steps} optimizer steps", report)
        case Stage.EVALUATE:
            return f"{_scores(report)}; {report.mistakes} mistakes"
        case Stage.GENERATE:
            return f"{report.kept} of {report.generated} rows kept"
        case Stage.TEST:
            return _scores(report)


def _timestamp(moment: datetime | None) -> str:
    return timestamp(moment) if moment else ""


def _with_message(result: str, report: Report) -> str:
    return f"{result}; {report.message}" if report.message else result


def _scores(report: Report) -> str:
    return ", ".join(f"{m.name} {m.value:.3f} on {m.examples} {m.dataset} rows" for m in report.metrics)

"""Defines every reason of a condition or an Event, each with the sentence that explains it.

This table has every reason that the operator words itself; docs/reference/endings.md is generated from it, and metrics
are labeled by it. Reasons that a kubelet gives for a container, and those of Events, are passed on if they are
Kubernetes' own. The reasons of exit codes and of the end of the loop belong to the data plane (llm2llm.errors,
llm2llm.loop.stopping); a test keeps the two sides consistent.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Self


class About(Enum):
    """Where a reason appears: on a condition, or in Events."""

    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    PROGRESSING = "Progressing"
    OTHERS = "Reconciling, Stalled, and any condition that is False"
    EVENTS = "Events"


class Reason(StrEnum):
    """A CamelCase reason. `sentence` says what it means, `about` lists where it appears."""

    sentence: str
    about: tuple[About, ...]

    def __new__(cls, value: str, sentence: str, *about: About) -> Self:
        """Makes a member whose value is the reason."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.about = about
        return member

    # --- the run is complete
    MAX_ITERATIONS_REACHED = "MaxIterationsReached", "All iterations of spec.maxIterations are done.", About.COMPLETE
    GOAL_REACHED = "GoalReached", "The score of spec.objective reached its goal.", About.COMPLETE
    PLATEAUED = "Plateaued", "No iteration improved within spec.earlyStopping.patience.", About.COMPLETE
    NO_MISTAKES = "NoMistakes", "The student makes no mistakes that rows could be written for.", About.COMPLETE
    # --- what fails a run, holds it, or completes it with what there is
    BUDGET_EXCEEDED = (
        "BudgetExceeded",
        "A limit of spec.budget has been reached; budget.onExceeded says what happens next.",
        About.COMPLETE,
        About.FAILED,
        About.SUSPENDED,
        About.PROGRESSING,
    )
    INVALID_SPEC = "InvalidSpec", "The spec cannot work as written (exit code 64).", About.FAILED
    INVALID_DATA = "InvalidData", "Rows are broken; the message has the file and line numbers (65).", About.FAILED
    AUTHENTICATION_FAILED = (
        "AuthenticationFailed",
        "A key was rejected; the message names the Secret and key (66).",
        About.FAILED,
    )
    INCOMPATIBLE_ARTIFACTS = (
        "IncompatibleArtifacts",
        "The store contains another experiment's output under this path (70).",
        About.FAILED,
    )
    LOW_ACCEPTANCE = "LowAcceptance", "The filters rejected too many of the teacher's rows (71).", About.FAILED
    METRIC_INVALID = "MetricInvalid", "A loss, weight, or score is NaN or infinite (72).", About.FAILED
    STEP_FAILED = "StepFailed", "A step failed more often than spec.retries.transient allows.", About.FAILED
    OUT_OF_MEMORY = "OutOfMemory", "A step ran out of GPU memory (69) or of host memory.", About.FAILED
    REPORT_MISSING = "ReportMissing", "A step repeatedly exits with code 0 without a report.", About.FAILED
    STATUS_REJECTED = "StatusRejected", "The API server does not accept the status with a step's result.", About.FAILED
    JOB_DELETED = "JobDeleted", "Jobs were deleted more often than spec.retries.jobDeleted allows.", About.FAILED
    TOO_MANY_DISRUPTIONS = (
        "TooManyDisruptions",
        "More pods of a step were evicted, preempted, or refused by a kubelet than spec.maxDisruptions allows.",
        About.FAILED,
    )
    DEADLINE_EXCEEDED = (
        "DeadlineExceeded",
        "The run or a step has been active for longer than its deadline allows.",
        About.FAILED,
    )
    STARTUP_DEADLINE_EXCEEDED = (
        "StartupDeadlineExceeded",
        "No container of a step started within its startupDeadlineSeconds.",
        About.FAILED,
    )
    INVALID_IMAGE = (
        "InvalidImage",
        "The image cannot be pulled: its name is invalid, or it is never to be pulled and not on the node.",
        About.FAILED,
    )
    # --- the run waits for a person
    SUSPENDED_BY_USER = "SuspendedByUser", "spec.suspend is true.", About.SUSPENDED, About.PROGRESSING
    AWAITING_APPROVAL = (
        "AwaitingApproval",
        "A person must approve the newest synthetic set: raise spec.approval.approvedRounds.",
        About.SUSPENDED,
        About.PROGRESSING,
    )
    TEACHER_QUOTA_EXHAUSTED = (
        "TeacherQuotaExhausted",
        "The teacher's account is out of credit (67): add credit, then raise spec.retry.",
        About.SUSPENDED,
        About.PROGRESSING,
    )
    # --- the run works
    PREPARING = "Preparing", "Prepare is checking and freezing the inputs.", About.PROGRESSING
    TRAINING = "Training", "Train is running.", About.PROGRESSING
    EVALUATING = "Evaluating", "Evaluate is running.", About.PROGRESSING
    GENERATING = "Generating", "Generate is running.", About.PROGRESSING
    TESTING = "Testing", "Test is running.", About.PROGRESSING
    # --- the run waits for the cluster
    QUEUED = (
        "Queued",
        "The Job is suspended: its queue has not admitted it. With kueue.readWorkloads the message is Kueue's.",
        About.PROGRESSING,
    )
    INADMISSIBLE = (
        "Inadmissible",
        "Kueue cannot admit the Job, however much quota is free: a queue is missing or stopped.",
        About.PROGRESSING,
    )
    NO_WORKLOAD = (
        "NoWorkload",
        "The Job is suspended, and Kueue has made no Workload for it; the message says what to check.",
        About.PROGRESSING,
    )
    DEACTIVATED = "Deactivated", "The Job's Workload is deactivated, by a person or by Kueue.", About.PROGRESSING
    PREEMPTED = "Preempted", "Kueue has taken the Job's quota for another one; it is queued again.", About.PROGRESSING
    REQUEUED = "Requeued", "Kueue has evicted the Job for another reason; it is queued again.", About.PROGRESSING
    UNSCHEDULABLE = "Unschedulable", "No node fits the pod; the message is the scheduler's.", About.PROGRESSING
    SCHEDULING_GATED = (
        "SchedulingGated",
        "The pod has scheduling gates; the message names them, and whoever set them has to remove them.",
        About.PROGRESSING,
    )
    NO_SCHEDULER = "NoScheduler", "No scheduler of the pod's schedulerName has taken the pod.", About.PROGRESSING
    POD_INITIALIZING = (
        "PodInitializing",
        "An init container that something put into the pod runs on; the step starts after it.",
        About.PROGRESSING,
    )
    DISRUPTED = (
        "Disrupted",
        "The pod was evicted, preempted, or drained; the message is the cluster's, and the Job starts another pod.",
        About.PROGRESSING,
    )
    QUOTA_EXCEEDED = "QuotaExceeded", "A ResourceQuota does not allow the pod.", About.PROGRESSING
    POD_REFUSED = "PodRefused", "The API server rejects the pod; the message is the API server's.", About.PROGRESSING
    CLUSTER_WARNING = (
        "ClusterWarning",
        "An Event warns about the Job or its pod; the message is the Event's.",
        About.PROGRESSING,
    )
    POD_STUCK_TERMINATING = "PodStuckTerminating", "A pod that should have ended has not.", About.PROGRESSING
    BACKING_OFF = (
        "BackingOff",
        "A transient failure occurred; the next attempt starts after a pause.",
        About.PROGRESSING,
    )
    REPLACING = (
        "Replacing",
        "The spec changed while no pod of the Job ran: the Job is deleted, and the next attempt has the new spec.",
        About.PROGRESSING,
    )
    SUSPENDING = "Suspending", "A pod is saving its work before the run is suspended.", About.PROGRESSING
    FORBIDDEN = "Forbidden", "The operator's role does not permit the request.", About.PROGRESSING, About.EVENTS
    WEBHOOK_DENIED = "WebhookDenied", "An admission webhook rejects the Job.", About.PROGRESSING, About.EVENTS
    WEBHOOK_UNAVAILABLE = (
        "WebhookUnavailable",
        "An admission webhook that has to judge the Job does not answer; the Job is created once it does.",
        About.PROGRESSING,
        About.EVENTS,
    )
    SERVER_ERROR = (
        "ServerError",
        "The API server fails to create the Job; the message is the API server's.",
        About.PROGRESSING,
        About.EVENTS,
    )
    JOB_REJECTED = "JobRejected", "The API server rejects the Job.", About.PROGRESSING, About.EVENTS
    INTERNAL_ERROR = (
        "InternalError",
        "The operator cannot decide what to do next: a bug, an edited status, or a Job of another owner.",
        About.PROGRESSING,
        About.EVENTS,
    )
    # --- conditions that are no news
    ACCEPTED = "Accepted", "The spec was accepted and the run has started.", About.OTHERS
    CONTINUED = "Continued", "A changed spec lets a finished run continue.", About.OTHERS, About.EVENTS
    RETRIED = "Retried", "spec.retry was raised.", About.OTHERS
    RESUMED = "Resumed", "The reason for the hold no longer applies.", About.OTHERS

"""Names that leave this process: labels, condition types, and the name of the operator; each defined once."""

from __future__ import annotations

from typing import Final

from llm2llm.api.run import GROUP

LABEL_RUN: Final = f"{GROUP}/run"
"""Name of the run, for people: `kubectl get jobs,pods -l llm2llm.dev/run=NAME`."""
LABEL_RUN_UID: Final = f"{GROUP}/run-uid"
"""UID of the run, for the operator: a run that is deleted and applied again is another run."""
LABEL_STAGE: Final = f"{GROUP}/stage"
LABEL_ITERATION: Final = f"{GROUP}/iteration"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
ANNOTATION_SETTINGS: Final = f"{GROUP}/settings"
"""Of a Job: the generation of the spec that it was made from, and a digest of what it takes from there."""
LABEL_JOB_NAME: Final = "batch.kubernetes.io/job-name"
KUEUE: Final = "kueue.x-k8s.io"
LABEL_QUEUE: Final = f"{KUEUE}/queue-name"
LABEL_WORKLOAD_PRIORITY: Final = f"{KUEUE}/priority-class"
LABEL_JOB_UID: Final = f"{KUEUE}/job-uid"
"""Of a Workload."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OPERATOR: Final = "llm2llm-operator"

JOB_TTL_SECONDS: Final = 7 * 24 * 3600
"""A Job that no one cleans up (the operator was removed) is deleted a week after it finished."""

COMPLETE: Final = "Complete"
FAILED: Final = "Failed"
SUSPENDED: Final = "Suspended"
PROGRESSING: Final = "Progressing"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"

BACKING_OFF: Final = "BackingOff"
"""State of a step whose next attempt waits for its pause to end."""
REPLACING: Final = "Replacing"
"""State of a step whose Job must be deleted before another one is created, because the spec has changed."""
STOPPING: Final = "Stopping"
"""State of a step whose Job must be deleted before the run is held or ends, because its budget is spent."""

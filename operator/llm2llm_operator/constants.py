"""Names that leave this process: labels, condition types, environment variables. One table, one reason for each."""

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
LABEL_JOB_NAME: Final = "batch.kubernetes.io/job-name"
LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
LABEL_WORKLOAD_PRIORITY: Final = "kueue.x-k8s.io/priority-class"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OPERATOR: Final = "llm2llm-operator"

CONTAINER: Final = "step"
SCRATCH: Final = "/scratch"
"""The one writable folder of a step: HOME and every cache lie under it, because the root file system is read-only."""

CLAIMS: Final = "/mnt/claims"
CONFIG_MAPS: Final = "/mnt/configmaps"
"""Where the claim of a pvc:// URI and the ConfigMap of a configmap:// URI are mounted (llm2llm.storage.uri)."""
CA_BUNDLES: Final = "/mnt/ca"
"""Where the ConfigMaps of caBundleRef are mounted."""
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a mount point of the pod
"""Where processes of one pod share memory; a container runtime makes it 64 MiB large."""
MODELS: Final = "/mnt/models"
"""Where the claim of spec.student.cache is mounted."""

JOB_TTL_SECONDS: Final = 7 * 24 * 3600
"""A Job that nobody cleans up (the operator was removed) ends by itself a week after it finished."""

COMPLETE: Final = "Complete"
FAILED: Final = "Failed"
SUSPENDED: Final = "Suspended"
PROGRESSING: Final = "Progressing"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"

STOPPING: Final = "Stopping"
"""State of a step whose Job has to go before the run is held or ends: its budget is spent."""

PROGRESS_REASONS: Final = {
    "Prepare": "Preparing",
    "Train": "Training",
    "Evaluate": "Evaluating",
    "Generate": "Generating",
    "Test": "Testing",
}

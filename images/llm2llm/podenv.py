"""PURE: defines the contract between a step's pod and the step in it: variables, mount paths, and the table of Secrets.

The operator builds pods by it, the step reads its environment by it, and the local runner sets up the same environment
without a pod. The keys and CA bundle of a source of rows have their own variable names, because those of the artifacts
use the names that boto3 knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llm2llm.api.base import CaBundleReference, SecretKeyReference
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import STAGES
from llm2llm.records import Kind, Stage

# --- variables that the operator sets

STEP = "LLM2LLM_STEP"
"""The step document (records.StepDocument)."""
POD_UID = "POD_UID"
SCRATCH_FOLDER = "LLM2LLM_SCRATCH"
MODEL_CACHE = "LLM2LLM_MODEL_CACHE"
"""Folder of `spec.student.cache`, if the run has one."""
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a variable, not a token
CA_BUNDLE = "AWS_CA_BUNDLE"
TEACHER_KEY = "LLM2LLM_TEACHER_API_KEY"
TEACHER_CA_BUNDLE = "LLM2LLM_TEACHER_CA_BUNDLE"
TEACHER_HUB_TOKEN = "LLM2LLM_TEACHER_HF_TOKEN"  # noqa: S105 - likewise
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - likewise
MLFLOW_CA_BUNDLE = "LLM2LLM_MLFLOW_CA_BUNDLE"
MLFLOW_TOKEN = "LLM2LLM_MLFLOW_TOKEN"  # noqa: S105 - likewise
MLFLOW_USERNAME = "LLM2LLM_MLFLOW_USERNAME"
MLFLOW_PASSWORD = "LLM2LLM_MLFLOW_PASSWORD"  # noqa: S105 - likewise
MLFLOW_KEYS = {
    MLFLOW_TOKEN: "MLFLOW_TRACKING_TOKEN",
    MLFLOW_USERNAME: "MLFLOW_TRACKING_USERNAME",
    MLFLOW_PASSWORD: "MLFLOW_TRACKING_PASSWORD",
}
"""Variable to its key in the Secret of `spec.tracking.mlflow`. All are optional: tracking never holds a step back."""

# --- variables that a user or the local runner may set

TERMINATION_PATH = "LLM2LLM_TERMINATION_PATH"
"""File that the report is written to instead of /dev/termination-log."""
CONFIG_MAPS_FOLDER = "LLM2LLM_CONFIG_MAPS"
"""Folder in which the local runner puts ConfigMaps, instead of CONFIG_MAPS."""
TRAIN_PROCESSES = "LLM2LLM_TRAIN_PROCESSES"
"""Number of training processes without GPUs, over gloo, instead of one per GPU. Only tests set it."""
TEACHER_TIMEOUT = "TEACHER_TIMEOUT_SECONDS"
"""Maximum seconds of one request to the teacher; set in spec.generate.env for a slow endpoint."""

# --- mount paths

CONTAINER = "step"
SCRATCH = "/scratch"
"""The only writable folder of a step: HOME and every cache are in it, because the root file system is read-only."""
CLAIMS = "/mnt/claims"
CONFIG_MAPS = "/mnt/configmaps"
"""Where the claim of a pvc:// URI and the ConfigMap of a configmap:// URI are mounted (storage/uri.py)."""
CA_BUNDLES = "/mnt/ca"
"""Where the ConfigMaps of caBundleRef are mounted, one folder for each endpoint to verify, as CA_FILE."""
CA_FILE = "ca.crt"
MODELS = "/mnt/models"
"""Where the claim of spec.student.cache is mounted."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount point of the pod
"""Where processes of one pod share memory; by default a container runtime limits it to 64 MiB."""


@dataclass(frozen=True)
class SecretVariable:
    """A variable that holds a key of a Secret; unless `optional`, the pod does not start before the key exists."""

    name: str
    secret: str
    key: str
    optional: bool = False


@dataclass(frozen=True)
class CaBundle:
    """A CA bundle that a step verifies a certificate with.

    Attributes:
        use: whose certificate: artifacts, teacher, or the name of a data set.
        variable: name of the variable with the path of the file.
        reference: the ConfigMap that it comes from.
        optional: whether the pod also starts before the ConfigMap exists.
    """

    use: str
    variable: str
    reference: CaBundleReference
    optional: bool = False


def env_name(dataset: str, name: str) -> str:
    """Returns the name of boto3's variable `name` for a data set: `LLM2LLM_SEED_AWS_ACCESS_KEY_ID`."""
    return f"LLM2LLM_{dataset.upper()}_{name}"


def secret_variables(spec: AugmentationRunSpec, stage: Stage, kind: Kind = Kind.RUN) -> list[SecretVariable]:
    """Returns the variables from Secrets that a stage gets: none that it does not need.

    Every step reads the artifacts. Collect only reads a manifest there.
    """
    variables: list[SecretVariable] = []
    if spec.artifacts.credentials_secret_ref:
        variables += _bucket_keys(spec.artifacts.credentials_secret_ref.name)
    if kind is Kind.COLLECT:
        return variables
    traits = STAGES[stage]
    if traits.reads_sources:
        for dataset, source in spec.data.sources().items():
            if source.credentials_secret_ref:
                variables += _bucket_keys(source.credentials_secret_ref.name, dataset)
    teacher = spec.generate.teacher
    if traits.asks_teacher:
        variables += _key_variable(TEACHER_KEY, teacher.api_key_secret_ref)
        variables += _key_variable(TEACHER_HUB_TOKEN, teacher.source.token_secret_ref if teacher.source else None)
    if traits.loads_student:
        variables += _key_variable(HUB_TOKEN, spec.student.token_secret_ref)
    server = spec.tracking.mlflow if spec.tracking else None
    if traits.tracks and server and server.credentials_secret_ref:
        secret = server.credentials_secret_ref.name
        variables += [SecretVariable(name, secret, key, optional=True) for name, key in MLFLOW_KEYS.items()]
    return variables


def ca_bundles(spec: AugmentationRunSpec, stage: Stage, kind: Kind = Kind.RUN) -> list[CaBundle]:
    """Returns the CA bundles that a step needs."""
    candidates = [("artifacts", CA_BUNDLE, spec.artifacts.ca_bundle_ref)]
    if kind is Kind.RUN and STAGES[stage].reads_sources:
        candidates += [
            (dataset, env_name(dataset, CA_BUNDLE), source.ca_bundle_ref)
            for dataset, source in spec.data.sources().items()
        ]
    if kind is Kind.RUN and STAGES[stage].asks_teacher:
        candidates.append(("teacher", TEACHER_CA_BUNDLE, spec.generate.teacher.ca_bundle_ref))
    bundles = [CaBundle(use, variable, reference) for use, variable, reference in candidates if reference]
    server = spec.tracking.mlflow if spec.tracking else None
    if kind is Kind.RUN and STAGES[stage].tracks and server and server.ca_bundle_ref:
        bundles.append(CaBundle("mlflow", MLFLOW_CA_BUNDLE, server.ca_bundle_ref, optional=True))
    return bundles


def _bucket_keys(secret: str, dataset: str = "") -> Iterator[SecretVariable]:
    """Yields the variables for the keys of a bucket; a session token is optional."""
    for key in CREDENTIALS:
        yield SecretVariable(env_name(dataset, key) if dataset else key, secret, key, optional=key == SESSION_TOKEN)


def _key_variable(name: str, reference: SecretKeyReference | None) -> list[SecretVariable]:
    return [SecretVariable(name, reference.name, reference.key)] if reference else []

"""PURE: defines where each artifact of a run is stored.

Every path is relative to the run's root, `<artifacts.uri>/<namespace>/<artifacts.key or name-uid8>/`.
"""

from __future__ import annotations

from typing import Literal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import step_label
from llm2llm.records import Stage

LOGS = "logs/"
"""Folder of the logs of all attempts, which people read, and the report for its curve of the loss."""


def run_root(spec: AugmentationRunSpec, namespace: str, name: str, uid: str) -> str:
    """Returns the URI of the folder that holds everything of a run, without a trailing slash."""
    key = spec.artifacts.key or f"{name}-{uid[:8]}"
    return f"{spec.artifacts.uri.rstrip('/')}/{namespace}/{key}"


def manifest_key(folder: str) -> str:
    """Returns the key of a step's manifest, its commit marker: the only fixed name in the step's folder."""
    return f"{folder}/manifest.json"


def data_folder(folder: str, pod_uid: str) -> str:
    """Returns the folder for one pod's output, so that two pods of a step cannot damage each other's."""
    return f"{folder}/data/{pod_uid}"


def checkpoint_folder(folder: str, step: int, pod_uid: str) -> str:
    """Returns the folder of an immutable checkpoint after `step` optimizer steps; its `marker.json` is written last."""
    return f"{folder}/checkpoints/{step:06d}-{pod_uid}"


def ledger_folder(folder: str) -> str:
    """Returns the folder for the pods' records of what they paid for: `<pod-uid>/<sequence>.jsonl`, read together."""
    return f"{folder}/ledger"


def token_folder(identity: str) -> str:
    """Returns the folder of cached token ids, by the digest of what determines them; it may be deleted at any time."""
    return f"cache/tokens/{identity.removeprefix('sha256:')[:32]}"


def model_files_key(identity: str) -> str:
    """Returns the key of the known file hashes of a model on a volume; if deleted, the files are read again."""
    return f"cache/models/{identity.removeprefix('sha256:')[:32]}.json"


def part_folder(folder: str, key: str) -> str:
    """Returns the folder of an evaluation's partial results, by the content key of its step."""
    return f"{folder}/parts/{key.removeprefix('sha256:')[:32]}"


def trained_part(spec: AugmentationRunSpec) -> Literal["adapter", "model"]:
    """Returns which of a training step's outputs is the student: an adapter for its base, or a complete model."""
    return "model" if spec.train.method == "Full" else "adapter"


def log_key(stage: Stage, iteration: int, attempt: int, pod_uid: str) -> str:
    """Returns the key of the log of one pod of an attempt."""
    return f"{LOGS}{step_label(stage, iteration)}-a{attempt}-{pod_uid}.log"

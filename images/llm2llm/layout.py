"""PURE: where each artifact of a run lies.

Every path is relative to the run's root,
`<artifacts.uri>/<namespace>/<artifacts.key or name-uid8>/`.
"""

from __future__ import annotations

from typing import Literal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import step_label
from llm2llm.records import Stage


def run_root(spec: AugmentationRunSpec, namespace: str, name: str, uid: str) -> str:
    """URI of the folder that holds everything of a run, without a slash at the end."""
    key = spec.artifacts.key or f"{name}-{uid[:8]}"
    return f"{spec.artifacts.uri.rstrip('/')}/{namespace}/{key}"


def manifest_key(folder: str) -> str:
    """The one fixed name in a step's folder: its commit marker."""
    return f"{folder}/manifest.json"


def data_folder(folder: str, pod_uid: str) -> str:
    """Where one pod writes its output, so that a loser cannot hurt the winner."""
    return f"{folder}/data/{pod_uid}"


def checkpoint_folder(folder: str, step: int, pod_uid: str) -> str:
    """An immutable checkpoint after `step` optimizer steps; its `marker.json` is written last."""
    return f"{folder}/checkpoints/{step:06d}-{pod_uid}"


def ledger_folder(folder: str) -> str:
    """Where each pod of a generation step records what it paid for: `<pod-uid>/<sequence>.jsonl`, read as a union."""
    return f"{folder}/ledger"


def token_folder(identity: str) -> str:
    """Where rows lie as token ids, by the digest of what made them: a cache, which may be removed at any time."""
    return f"cache/tokens/{identity.removeprefix('sha256:')[:32]}"


def model_files_key(identity: str) -> str:
    """Key of what is known of the files of one model on a volume; may be removed, then they are read again."""
    return f"cache/models/{identity.removeprefix('sha256:')[:32]}.json"


def part_folder(folder: str, key: str) -> str:
    """Where an evaluation keeps what it has so far, by the content key of its step."""
    return f"{folder}/parts/{key.removeprefix('sha256:')[:32]}"


def trained_part(spec: AugmentationRunSpec) -> Literal["adapter", "model"]:
    """Where among a training step's objects the student lies: an adapter for its base, or a model by itself."""
    return "model" if spec.train.method == "Full" else "adapter"


def log_key(stage: Stage, iteration: int, attempt: int, pod_uid: str) -> str:
    """The log of one pod of an attempt."""
    return f"logs/{step_label(stage, iteration)}-a{attempt}-{pod_uid}.log"

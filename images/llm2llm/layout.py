"""Where each artifact of a run lies, and what makes two steps the same step.

Pure: paths and keys only, no input or output. Every path is relative to the run's root,
`<artifacts.uri>/<namespace>/<artifacts.key or name-uid8>/`.
"""

from __future__ import annotations

from typing import Any, Literal

from llm2llm.api.data import S3Access
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import FOLDS, StepId
from llm2llm.records import Stage, StepDocument, canonical_json, digest_of

STAGE_SCHEMAS: dict[Stage, int] = {
    Stage.PREPARE: 3,
    Stage.TRAIN: 4,
    Stage.EVALUATE: 4,
    Stage.GENERATE: 4,
    Stage.TEST: 4,
}
"""Raised when a stage's output changes for the same input: older artifacts are then not taken for its result."""

INPUTS = "inputs"


def run_root(spec: AugmentationRunSpec, namespace: str, name: str, uid: str) -> str:
    """URI of the folder that holds everything of a run, without a slash at the end."""
    key = spec.artifacts.key or f"{name}-{uid[:8]}"
    return f"{spec.artifacts.uri.rstrip('/')}/{namespace}/{key}"


def step_folder(stage: Stage, iteration: int) -> str:
    """Folder of a step's output: `inputs` or `iterations/003/train`."""
    return INPUTS if stage is Stage.PREPARE else f"iterations/{iteration:03d}/{stage.value.lower()}"


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
    name = "prepare" if stage is Stage.PREPARE else f"i{iteration:03d}-{stage.value.lower()}"
    return f"logs/{name}-a{attempt}-{pod_uid}.log"


def fold_of(spec: AugmentationRunSpec, iteration: int) -> int | None:
    """The part of the seed set that an iteration leaves out of training and is asked; None where it leaves out none."""
    probes = spec.errors_from == "Probe" and not StepId(Stage.TRAIN, iteration).closing
    return iteration % FOLDS if probes else None


def key_fields(step: StepDocument) -> dict[str, Any]:
    """What a step's output depends on: the parents' digests and a listed set of the spec's fields (data plane, rule 1).

    Budgets, limits, resources, scheduling, deadlines, images, the micro-batch and addresses are left out on purpose:
    they change how a step runs, not what comes out.
    """
    spec = AugmentationRunSpec.model_validate(step.spec)
    fields: dict[str, Any] = {"stage": step.stage.value, "schema": STAGE_SCHEMAS[step.stage], "parents": step.parents}
    match step.stage:
        case Stage.PREPARE:
            chosen: dict[str, Any] = {
                "task": _dump(spec.task),
                "data": {name: _dump(source, exclude=_ACCESS) for name, source in spec.data.sources().items()},
                "student.model": _dump(spec.student.model),
                "student.trustRemoteCode": spec.student.trust_remote_code,
                "evaluate.engine": spec.evaluate.resolved_engine(),
                "generate.teacher.model": spec.generate.teacher.model,
                "generate.teacher.parameters": spec.generate.teacher.parameters,
            } | _local_teacher(spec)
        case Stage.TRAIN:
            train = _dump(spec.train)
            chosen = {
                f"train.{name}": train.get(name)
                for name in ("method", "lora", "hyperparameters", "minSteps", "precision")
            }
            chosen["train.quantization"] = spec.train.quantization
            chosen["startFrom"] = spec.start_from
            chosen["fold"] = fold_of(spec, step.iteration)
            chosen["iteration"] = step.iteration
        case Stage.EVALUATE | Stage.TEST:
            chosen = {
                "task": _dump(spec.task),
                "evaluate.engine": spec.evaluate.resolved_engine(),
                "evaluate.precision": spec.evaluate.precision,
                "evaluate.sampling": _dump(spec.evaluate.sampling),
                "train.quantization": spec.train.quantization,
            }
            if step.stage is Stage.EVALUATE:
                chosen["augmentFrom"] = spec.augment_from
                chosen["fold"] = fold_of(spec, step.iteration)
        case Stage.GENERATE:
            generate = _dump(spec.generate)
            chosen = {f"generate.{name}": generate.get(name) for name in _GENERATE_IDENTITY}
            chosen["generate.teacher.model"] = spec.generate.teacher.model
            chosen["generate.teacher.parameters"] = spec.generate.teacher.parameters
            chosen["augmentFrom"] = spec.augment_from
            chosen |= _local_teacher(spec)
            chosen["iteration"] = step.iteration
    return fields | chosen | {"randomSeed": spec.random_seed}


_ACCESS = frozenset(S3Access.model_fields)
"""How a source is reached is no part of what is computed."""


def _local_teacher(spec: AugmentationRunSpec) -> dict[str, Any]:
    """What a teacher of our own adds to a key; an endpoint is not part of one."""
    source = spec.generate.teacher.source
    if source is None:
        return {}
    return {"generate.teacher.source.uri": source.uri, "generate.teacher.source.revision": source.revision}


_GENERATE_IDENTITY = ("instructions", "strategy", "examplesPerMistake", "rowsPerRound", "filters")


def content_key(step: StepDocument) -> str:
    """Equal for two steps exactly when one's output can stand for the other's."""
    return digest_of(key_fields(step))


def differing_fields(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Names of the key fields that two steps disagree in, with both values, shortest first."""
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    return [
        f"{name}: {canonical_json(mine.get(name))} here, {canonical_json(theirs.get(name))} there" for name in names
    ]


def _dump(model: Any, *, exclude: frozenset[str] = frozenset()) -> dict[str, Any]:
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=exclude)
    return dumped

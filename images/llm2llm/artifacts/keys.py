"""PURE: computes the content key of a step, which says whether two steps are the same.

A step's content key is a digest of what its output depends on: its parents' digests, the schema version of its stage,
the random seed and a fixed list of the spec's fields (rule D1). All other fields may change during a run.
"""

from __future__ import annotations

from typing import Any

from llm2llm.api.base import dump_identity
from llm2llm.api.data import S3Access
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.probing import fold_of
from llm2llm.records import Stage, canonical_json, digest_of
from llm2llm.runtime.context import Step

STAGE_SCHEMAS: dict[Stage, int] = {
    Stage.PREPARE: 3,
    Stage.TRAIN: 4,
    Stage.EVALUATE: 4,
    Stage.GENERATE: 4,
    Stage.TEST: 4,
}
"""Incremented when a stage's output changes for the same input, so that older artifacts do not count as its result."""


def key_fields(step: Step) -> dict[str, Any]:
    """Returns what a step's output depends on: the parents' digests and a fixed list of the spec's fields (rule D1).

    Budgets, limits, resources, scheduling, deadlines, images, the micro-batch and addresses are left out on purpose:
    they change how a step runs, not its output.
    """
    spec = step.spec
    fields: dict[str, Any] = {"stage": step.stage.value, "schema": STAGE_SCHEMAS[step.stage], "parents": step.parents}
    match step.stage:
        case Stage.PREPARE:
            chosen: dict[str, Any] = {
                "task": dump_identity(spec.task),
                "data": {name: dump_identity(source, exclude=_ACCESS) for name, source in spec.data.sources().items()},
                "student.model": dump_identity(spec.student.model),
                "student.trustRemoteCode": spec.student.trust_remote_code,
                "evaluate.engine": spec.evaluate.resolved_engine(),
                "generate.teacher.model": spec.generate.teacher.model,
                "generate.teacher.parameters": spec.generate.teacher.parameters,
            } | _local_teacher(spec)
        case Stage.TRAIN:
            train = dump_identity(spec.train)
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
                "task": dump_identity(spec.task),
                "evaluate.engine": spec.evaluate.resolved_engine(),
                "evaluate.precision": spec.evaluate.precision,
                "evaluate.sampling": dump_identity(spec.evaluate.sampling),
                "train.quantization": spec.train.quantization,
            }
            if step.stage is Stage.EVALUATE:
                chosen["augmentFrom"] = spec.augment_from
                chosen["fold"] = fold_of(spec, step.iteration)
        case Stage.GENERATE:
            generate = dump_identity(spec.generate)
            chosen = {f"generate.{name}": generate.get(name) for name in _GENERATE_IDENTITY}
            chosen["generate.teacher.model"] = spec.generate.teacher.model
            chosen["generate.teacher.parameters"] = spec.generate.teacher.parameters
            chosen["augmentFrom"] = spec.augment_from
            chosen |= _local_teacher(spec)
            chosen["iteration"] = step.iteration
    return fields | chosen | {"randomSeed": spec.random_seed}


_ACCESS = frozenset(S3Access.model_fields)
"""How a source is reached does not affect what is computed."""


def _local_teacher(spec: AugmentationRunSpec) -> dict[str, Any]:
    """Returns what a local teacher adds to a key; an endpoint is not part of one."""
    source = spec.generate.teacher.source
    if source is None:
        return {}
    return {"generate.teacher.source.uri": source.uri, "generate.teacher.source.revision": source.revision}


_GENERATE_IDENTITY = ("instructions", "strategy", "examplesPerMistake", "rowsPerRound", "filters")


def content_key(step: Step) -> str:
    """Returns a digest that is equal for two steps exactly when their outputs are interchangeable."""
    return digest_of(key_fields(step))


def differing_fields(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Returns the key fields in which two steps differ, with both values."""
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    return [
        f"{name}: {canonical_json(mine.get(name))} in this run, {canonical_json(theirs.get(name))} in the store"
        for name in names
    ]

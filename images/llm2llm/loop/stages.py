"""PURE: lists all stages in one table: where each runs, where its output is stored, and what it needs.

The operator reads it for a Job's image, block and queue, the pod's environment for the Secrets, the layout for the
folder. What a stage does is in `llm2llm.stages.<name>`; when it runs is decided in `loop.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm2llm.api.pods import StepBlock
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Stage

INPUTS = "inputs"
"""Folder of the inputs that Prepare freezes."""


@dataclass(frozen=True)
class StageTraits:
    """The properties of a stage.

    Attributes:
        verb: reason of the condition Progressing while it runs.
        block: field of the spec with its image, resources and deadlines.
        image: key in `status.images` of the image that it runs in.
        once: it runs once, before the iterations.
        queued: it may use GPUs, and then waits in `scheduling.queueName`.
        reads_sources: it gets the keys of `data`'s sources.
        asks_teacher: it gets the teacher's key, or the token for the teacher's weights.
        loads_student: it gets the token for the base model.
        tracks: it writes to the tracking server, and gets its keys.
        keeps_checkpoints: it has checkpoints in the store until it is committed.
        keeps_partials: it has partial predictions in the store until it is committed.
        writes_views: once it is committed, the run's views are written anew and weights that nothing needs are deleted.
        in_table: its numbers are columns of the local runner's table.
        per_iteration: every iteration may have it; Test comes once, after the loop.
    """

    verb: str
    block: str
    image: str
    once: bool = False
    queued: bool = True
    reads_sources: bool = False
    asks_teacher: bool = False
    loads_student: bool = True
    tracks: bool = False
    keeps_checkpoints: bool = False
    keeps_partials: bool = False
    writes_views: bool = False
    in_table: bool = False
    per_iteration: bool = False


STAGES: Mapping[Stage, StageTraits] = {
    Stage.PREPARE: StageTraits(
        "Preparing", "prepare", "prepare", once=True, queued=False, reads_sources=True, asks_teacher=True
    ),
    Stage.TRAIN: StageTraits("Training", "train", "train", keeps_checkpoints=True, in_table=True, per_iteration=True),
    Stage.EVALUATE: StageTraits(
        "Evaluating",
        "evaluate",
        "evaluate",
        tracks=True,
        keeps_partials=True,
        writes_views=True,
        in_table=True,
        per_iteration=True,
    ),
    Stage.GENERATE: StageTraits(
        "Generating",
        "generate",
        "generate",
        asks_teacher=True,
        loads_student=False,
        writes_views=True,
        in_table=True,
        per_iteration=True,
    ),
    Stage.TEST: StageTraits("Testing", "evaluate", "evaluate", tracks=True, keeps_partials=True, writes_views=True),
}


def step_block(spec: AugmentationRunSpec, stage: Stage) -> StepBlock:
    """Returns the image, resources and placement of a stage."""
    block: StepBlock = getattr(spec, STAGES[stage].block)
    return block


def image_key(spec: AugmentationRunSpec, stage: Stage) -> str:
    """Returns the key in `status.images` of a stage's image; a local teacher needs vLLM, which Evaluate's image has."""
    serves_teacher = stage is Stage.GENERATE and spec.generate.mode == "Local"
    return STAGES[Stage.EVALUATE if serves_teacher else stage].image


def step_label(stage: Stage, iteration: int) -> str:
    """Returns the name of a step in names of Jobs and logs: `prepare` or `i003-train`."""
    name = stage.value.lower()
    return name if STAGES[stage].once else f"i{iteration:03d}-{name}"


def step_folder(stage: Stage, iteration: int) -> str:
    """Returns the folder of a step's output: `inputs` or `iterations/003/train`."""
    return INPUTS if STAGES[stage].once else f"iterations/{iteration:03d}/{stage.value.lower()}"

"""Tells whether a Job was made from settings that have been edited since. Pure.

A Job carries the generation of the spec that it was made from and a digest of the part that it depends on. The digest
is of what a user has set, not of the manifest: another release of the operator, which may build it differently, must
not replace Jobs that wait in a queue.
"""

from __future__ import annotations

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import STAGES
from llm2llm.records import Stage, digest_of
from llm2llm_operator.build.job import block_of, image_of
from llm2llm_operator.model.status import CurrentStep

OF_THE_OPERATOR = frozenset(
    {
        "active_deadline_seconds",
        "approval",
        "budget",
        "early_stopping",
        "max_disruptions",
        "max_iterations",
        "objective",
        "retries",
        "retry",
        "suspend",
        "tracking",
        "ttl_seconds_after_finished",
    }
)
"""Fields of the spec that no step acts on, so that a Job need not know of an edit, but for those of READ_BY."""
READ_BY = {
    Stage.PREPARE: frozenset({"max_iterations"}),
    Stage.EVALUATE: frozenset({"tracking"}),
    Stage.GENERATE: frozenset({"budget"}),
    Stage.TEST: frozenset({"tracking"}),
}
"""Prepare asks the teacher only if there will be rounds; Generate keeps within what the budget leaves; what is scored
is shown on a tracking server.
"""
OF_THE_OPERATOR_IN_A_BLOCK = frozenset({"startup_deadline_seconds", "active_deadline_seconds", "image"})
"""The same in a step block; its image is in the digest as the one that the step gets."""
BLOCKS = frozenset(traits.block for traits in STAGES.values())
DIGEST_CHARACTERS = 16


def settings_of(generation: int, spec: AugmentationRunSpec, current: CurrentStep, images: dict[str, str]) -> str:
    """Returns the value of a Job's annotation: the generation, and a digest of the settings of this step."""
    block = block_of(spec, current)
    left_out = OF_THE_OPERATOR - READ_BY.get(current.id.stage, frozenset())
    if current.id.stage is not Stage.PREPARE:  # which checks what all steps will need
        left_out |= BLOCKS
    document = spec.model_dump(mode="json", exclude_defaults=True, exclude=set(left_out))
    document["block"] = block.model_dump(mode="json", exclude_defaults=True, exclude=set(OF_THE_OPERATOR_IN_A_BLOCK))
    document["image"] = block.image or image_of(spec, images, current)
    digest = digest_of(document).rpartition(":")[2][:DIGEST_CHARACTERS]
    return f"{generation}-{digest}"


def is_outdated(
    settings: str, generation: int, spec: AugmentationRunSpec, current: CurrentStep, images: dict[str, str]
) -> bool:
    """Returns whether the settings of a Job's step have been edited since.

    Nothing is known of a Job of an earlier release, which has no annotation.
    """
    made_for, _, digest = settings.partition("-")
    if not digest or made_for == str(generation):
        return False
    return settings_of(generation, spec, current, images).partition("-")[2] != digest

"""What a preset fills in where the user's spec says nothing."""

from __future__ import annotations

from llm2llm.api.data import Grader, Task
from llm2llm.presets import presets


def expand_preset(task: Task) -> Task:
    """The task with what its preset brings; a template of the user's own stays."""
    preset = presets().get(task.preset)
    if preset is None:
        return task
    return task.model_copy(
        update={
            "prompt_template": task.prompt_template or preset.template,
            "grader": Grader(type=preset.grader),
            "labels": list(preset.labels),
        }
    )


def instructions_for(task: Task, own: str) -> str:
    """What the teacher is told about the task: the user's words, else the preset's."""
    preset = presets().get(task.preset)
    return own or (preset.instructions if preset else "")

"""Fills in a preset's settings that the user's spec leaves out."""

from __future__ import annotations

from llm2llm.api.data import Grader, Task
from llm2llm.presets import presets


def expand_preset(task: Task) -> Task:
    """Returns the task with its preset's settings; keeps the user's own template."""
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
    """Returns the teacher's instructions for the task: the user's, else the preset's."""
    preset = presets().get(task.preset)
    return own or (preset.instructions if preset else "")

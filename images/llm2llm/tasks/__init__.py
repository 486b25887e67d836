"""Defines a task: it renders a prompt, extracts the answer from an output, and judges it.

Generation, extraction and scoring are separate (lm-evaluation-harness): an engine knows no task, a task knows no
engine. Training and evaluation render with the same `Task`, so that a student is evaluated on the prompts it learned.
"""

from llm2llm.tasks.custom import Task, task_of

__all__ = ["Task", "task_of"]

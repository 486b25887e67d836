"""A task: render a prompt, extract an answer from an output, judge it.

Generation, extraction and scoring are apart (lm-evaluation-harness): an engine knows no task, a task knows no engine.
Training and evaluation render with the same `Task`, or a student would be asked what it was never taught.
"""

from llm2llm.tasks.custom import Task, task_of

__all__ = ["Task", "task_of"]

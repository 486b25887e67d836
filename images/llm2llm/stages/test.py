"""Stage Test: scores the best adapter on the test set when the loop is over.

Nothing was selected on these rows, so this is the number to report.
"""

from __future__ import annotations

from llm2llm.artifacts.committed import parent_manifest
from llm2llm.data.rows import TEST, read_examples
from llm2llm.errors import MetricInvalid
from llm2llm.loop.stages import INPUTS
from llm2llm.records import Report
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.stages.answers import answers
from llm2llm.stages.evaluate import score_sets
from llm2llm.storage import Store


def run(step: Step, store: Store, context: StepContext) -> StageResult:
    """Scores the adapter of `step.iteration` on the test set, as Evaluate scores the evaluation set.

    Raises:
        Terminated: SIGTERM came; a new attempt answers the remaining rows.
        ConfigurationError: the engine is not available.
        GpuOutOfMemory: the GPU does not hold the student with one row.
        MetricInvalid: the score is not a number.
    """
    rows = read_examples(store, parent_manifest(store, step, INPUTS), TEST)
    if not rows:
        raise MetricInvalid("the test set has no rows: its score is not a number")
    metrics, files = score_sets(answers(step, store, context, {"test": rows}))
    return StageResult(files, Report(**step.address, metrics=metrics))

"""Test: the number to report, from rows that nothing was chosen by; on the best adapter, when the loop is over."""

from __future__ import annotations

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import parent_manifest
from llm2llm.artifacts.partials import PartialPredictions
from llm2llm.data.rows import TEST, read_examples
from llm2llm.errors import MetricInvalid
from llm2llm.layout import INPUTS
from llm2llm.records import Report, Stage, StepDocument
from llm2llm.report.views import write_views
from llm2llm.runtime.context import StepContext
from llm2llm.stages.answers import answers
from llm2llm.stages.evaluate import score_sets
from llm2llm.storage import Store


def run(step: StepDocument, store: Store, context: StepContext) -> Report:
    """Scores the adapter of `step.iteration` on the test set, as Evaluate scores the evaluation set.

    Raises:
        Terminated: SIGTERM came; a new attempt asks what is left.
        ConfigurationError: the engine is not there.
        GpuOutOfMemory: the GPU does not hold the student with one row.
        MetricInvalid: the score is not a number.
    """
    rows = read_examples(store, parent_manifest(store, step, INPUTS), TEST)
    if not rows:
        raise MetricInvalid("the test set has no rows: its score is not a number")
    metrics, files = score_sets(answers(step, store, context, {"test": rows}))
    report = Report(
        run_uid=step.run_uid,
        stage=Stage.TEST,
        iteration=step.iteration,
        attempt=step.attempt,
        metrics=metrics,
    )
    report = commit(store, step, context, files, report)
    PartialPredictions(store, step, context.pod_uid).clear()
    write_views(step, store, context)
    return report

"""Reuses what another run has done: copies steps with the same content key, and replays teacher answers.

Equal content keys mean equal inputs and settings (keys.key_fields), so a copy is the result, except a round of a local
teacher: its key names the teacher as the spec does, and not its content. The other run paid for it, so the report of a
copy has no usage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import download_folder, manifest_in, read_object
from llm2llm.artifacts.keys import content_key
from llm2llm.artifacts.retention import has_all_objects
from llm2llm.layout import data_folder, ledger_folder, trained_part
from llm2llm.records import Manifest, Report, Stage, Usage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import Store, open_store
from llm2llm.teacher.ledger import LedgerRecord, read_segments, records_from_jsonl


def copy_from_reused_run(
    step: Step, store: Store, context: StepContext, fits: Callable[[Store, Manifest], bool]
) -> Report | None:
    """Commits the output of the same step of a run in `spec.reuseFrom`; returns None if no such run has one.

    Prepare is never copied: its probes are about this run's teacher and store.

    Args:
        step: the step.
        store: this run's.
        context: of this process.
        fits: returns whether the output in another run's store is the same in what no content key has.

    Raises:
        IncompatibleArtifacts: the other run's output is damaged.
    """
    if step.stage is Stage.PREPARE:
        return None
    folder = step.folder
    for other in _reused_stores(step, context):
        manifest = manifest_in(other, folder)
        if manifest is None or manifest.content_key != content_key(step) or not has_all_objects(other, manifest):
            continue
        if fits(other, manifest):
            context.progress({"stage": step.stage.value, "iteration": step.iteration, "copiedFrom": other.uri})
            return _commit_copy(step, store, context, other, manifest)
    return None


@dataclass(frozen=True)
class ReusedAnswers:
    """The answers that the runs in `spec.reuseFrom` paid for in an iteration.

    Attributes:
        by_key: request key to an answer; a refusal of the endpoint's is none.
        finished: for each of these runs that committed the round, what it has judged, by request key. Refusals are
            among it: they decided what was requested next.
    """

    by_key: Mapping[str, LedgerRecord]
    finished: Sequence[Mapping[str, LedgerRecord]]

    def finished_round(self, first_wave: Iterable[str]) -> Mapping[str, LedgerRecord] | None:
        """Returns what one of these runs has judged in the round that begins with these requests, if it finished it."""
        keys = frozenset(first_wave)
        return next((judged for judged in self.finished if keys and keys <= judged.keys()), None)


def read_reused_answers(step: Step, context: StepContext) -> ReusedAnswers:
    """Reads the answers that other runs in `spec.reuseFrom` paid for in this iteration."""
    folder = step.folder
    by_key: dict[str, LedgerRecord] = {}
    finished = []
    for other in _reused_stores(step, context):
        manifest = manifest_in(other, folder)
        committed = []
        if manifest is not None:
            committed = records_from_jsonl(read_object(other, manifest, "ledger.jsonl"))
            finished.append({record.key: record for record in committed})
        # What was judged comes first: another pod may have paid for another answer to the same request.
        for record in (*committed, *read_segments(other, ledger_folder(folder))):
            if record.is_answer:
                by_key.setdefault(record.key, record)
    return ReusedAnswers(by_key, finished)


def _reused_stores(step: Step, context: StepContext) -> Iterator[Store]:
    spec = step.spec
    for source in spec.reuse_from:
        yield open_store(source.uri.rstrip("/"), spec.artifacts, context.environ)


def _commit_copy(step: Step, store: Store, context: StepContext, other: Store, manifest: Manifest) -> Report:
    target = context.scratch / f"copy-{step.stage.value.lower()}-{step.iteration:03d}-{context.pod_uid}"
    with context.timed("load"):
        download_folder(other, manifest, "", target)
    files = {entry.name: target / entry.name for entry in manifest.objects}
    spec = step.spec
    folder = data_folder(step.folder, context.pod_uid)
    changes = {
        "run_uid": step.run_uid,
        "attempt": step.attempt,
        "usage": Usage(),
        "model_uri": f"{store.uri}/{folder}/{trained_part(spec)}" if step.stage is Stage.TRAIN else "",
        "message": f"copied from {other.uri}",
    }
    return commit(store, step, context, files, manifest.report.model_copy(update=changes))

"""Reuses what another run has done: copies steps with the same content key, and replays teacher answers.

Equal content keys mean equal inputs and settings (keys.key_fields), so a copy is the result. The other run paid for it,
so the report of a copy has no usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def copy_from_reused_run(step: Step, store: Store, context: StepContext) -> Report | None:
    """Commits the output of the same step of a run in `spec.reuseFrom`; returns None if no such run has one.

    Prepare is never copied: its probes are about this run's teacher and store.

    Raises:
        IncompatibleArtifacts: the other run's output is damaged.
    """
    if step.stage is Stage.PREPARE:
        return None
    folder = step.folder
    for other in _reused_stores(step, context):
        manifest = manifest_in(other, folder)
        if manifest is not None and manifest.content_key == content_key(step) and has_all_objects(other, manifest):
            context.progress({"stage": step.stage.value, "iteration": step.iteration, "copiedFrom": other.uri})
            return _commit_copy(step, store, context, other, manifest)
    return None


@dataclass(frozen=True)
class ReusedAnswers:
    """The answers that the runs in `spec.reuseFrom` paid for in an iteration.

    Attributes:
        by_key: request key to an answer.
        finished: for each of these runs that committed the round, the keys of its answers.
    """

    by_key: Mapping[str, LedgerRecord]
    finished: Sequence[frozenset[str]]

    def hold_round(self, first_wave: Iterable[str]) -> bool:
        """Returns whether one of these runs finished the round that begins with these requests."""
        keys = frozenset(first_wave)
        return bool(keys) and any(keys <= finished for finished in self.finished)


def read_reused_answers(step: Step, context: StepContext) -> ReusedAnswers:
    """Reads the answers that other runs in `spec.reuseFrom` paid for in this iteration."""
    folder = step.folder
    by_key: dict[str, LedgerRecord] = {}
    finished = []
    for other in _reused_stores(step, context):
        manifest = manifest_in(other, folder)
        records = list(read_segments(other, ledger_folder(folder)))
        if manifest is not None:
            committed = records_from_jsonl(read_object(other, manifest, "ledger.jsonl"))
            finished.append(frozenset(record.key for record in committed if record.outcome == "answer"))
            records += committed
        for record in records:
            if record.outcome == "answer":
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

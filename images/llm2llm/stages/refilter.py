"""Judges the recorded answers of a run's rounds anew, with other filters, and changes nothing (`llm2llm refilter`).

It goes through the waves as a round does whose answers another run has paid for (`spec.reuseFrom`): an answer counts if
the request for it would be worded the same. So what it tells of the first round is what a new run with these filters
keeps. The later rounds stay those that the run made: their mistakes are those of students that learned from the rows
that were kept then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count

from llm2llm.api.generate import Filters
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.data.rows import SYNTHETIC, read_examples
from llm2llm.errors import IncompatibleArtifacts, LowAcceptance
from llm2llm.layout import ledger_folder, manifest_key
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Example, Manifest, Stage
from llm2llm.stages.round import WAVES, Item, RejectedRow, Round, RoundInputs, begin_round
from llm2llm.stages.round_inputs import read_inputs
from llm2llm.stages.teacher_endpoint import TEACHER, read_teacher, teacher_identity
from llm2llm.storage import ObjectMissing, Store
from llm2llm.teacher.ledger import LedgerRecord, read_segments, records_from_jsonl

KEPT = "kept"
NOT_NEEDED = "notNeeded"
"""An answer that is not judged: the row has one that was kept, or its request would be worded otherwise."""

Answer = tuple[str, int]
"""The name of a row and the wave in which it was requested: one answer."""


@dataclass(frozen=True)
class ChangedAnswer:
    """An answer of the teacher with another verdict than before.

    Attributes:
        was, now: `kept`, the name of the filter that refuses it, or `notNeeded`.
        detail: why it is refused now.
    """

    id: str
    seed: str
    wave: int
    was: str
    now: str
    detail: str
    text: str
    fields: Mapping[str, str]
    completion: str


@dataclass(frozen=True)
class RefilteredRound:
    """A round of a run, as its filters judged it and as others would.

    Attributes:
        finished: whether the run has finished the round; of another the recorded answers count.
        answers: number of answers that were judged.
        kept, would_keep: numbers of rows.
        unanswered: rows that would be requested once more, for which there is no recorded answer.
        too_few: whether so few rows would be kept that the step failed (`minAcceptance`).
        unexplained: answers to which this release gives another verdict with the run's own filters.
        changes: by row, in the order in which a wave is judged.
    """

    iteration: int
    finished: bool
    answers: int
    kept: int
    would_keep: int
    unanswered: int
    too_few: bool
    unexplained: int
    changes: Sequence[ChangedAnswer]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Pairs of verdicts, before and now, to the number of answers, the most frequent first."""
        return dict(Counter((change.was, change.now) for change in self.changes).most_common())


@dataclass(frozen=True)
class _Verdict:
    verdict: str
    detail: str
    seed: str
    fields: Mapping[str, str]
    completion: str
    text: str


def refilter_run(spec: AugmentationRunSpec, store: Store, filters: Filters) -> Iterator[RefilteredRound]:
    """Yields the rounds of a run, each judged with these filters.

    Args:
        spec: of the run.
        store: the run's; nothing is written to it.
        filters: to judge with. A row is compared with those that they keep of the rounds before.

    Raises:
        IncompatibleArtifacts: something is missing or damaged, or was requested by a release that words it otherwise.
    """
    changed = spec.model_copy(update={"generate": spec.generate.model_copy(update={"filters": filters})})
    kept_before: list[Example] = []
    for iteration in count():
        folder = step_folder(Stage.GENERATE, iteration)
        manifest, answers = _read_answers(store, folder)
        if manifest is None and not answers:
            return
        inputs = read_inputs(store, iteration, lambda folder: _committed(store, folder))
        identity = _identity(spec, store, folder, manifest)
        before, after = (
            _Replay(spec, iteration, inputs),
            _Replay(changed, iteration, replace(inputs, synthetic=kept_before)),
        )
        for replay in (before, after):
            replay.judge(answers, identity, over=manifest is not None)
        yield _compare(store, manifest, before, after, answers)
        kept_before = [*kept_before, *after.round.kept]


class _Replay:
    """A round whose answers are judged as they are recorded."""

    def __init__(self, spec: AugmentationRunSpec, iteration: int, inputs: RoundInputs) -> None:
        self.round: Round = begin_round(spec, iteration, inputs)
        self.unanswered = 0
        self.too_few = False

    def judge(self, answers: Mapping[str, LedgerRecord], identity: str, *, over: bool) -> None:
        """Judges what is recorded, wave by wave; `over`: the run has finished the round."""
        parameters = self.round.spec.generate.teacher.parameters
        pending: list[Item] = self.round.items
        for wave in range(WAVES):
            found = [(item, answers.get(self.round.request(item, wave).key(identity, parameters))) for item in pending]
            answered = [(item, record) for item, record in found if record is not None]
            self.unanswered += len(found) - len(answered)
            pending = self.round.judge_wave([item for item, _ in answered], [record for _, record in answered])
            self._check(over=False)
        self._check(over=over)

    def _check(self, *, over: bool) -> None:
        try:
            self.round.check_acceptance(over=over)
        except LowAcceptance:
            self.too_few = True


def _read_answers(store: Store, folder: str) -> tuple[Manifest | None, dict[str, LedgerRecord]]:
    """Returns what a round has committed, if it has, and the recorded answers by the keys of their requests."""
    manifest = manifest_in(store, folder)
    if manifest is not None:
        return manifest, {
            record.key: record for record in records_from_jsonl(read_object(store, manifest, "ledger.jsonl"))
        }
    answers: dict[str, LedgerRecord] = {}
    for record in read_segments(store, ledger_folder(folder)):
        if record.is_answer:
            answers.setdefault(record.key, record)
    return None, answers


def _committed(store: Store, folder: str) -> Manifest:
    manifest = manifest_in(store, folder)
    if manifest is None:
        raise IncompatibleArtifacts(f"{store.uri}/{manifest_key(folder)} is missing: was the artifact folder emptied?")
    return manifest


def _identity(spec: AugmentationRunSpec, store: Store, folder: str, manifest: Manifest | None) -> str:
    """Returns what the keys of a round's requests have of its teacher."""
    if spec.generate.teacher.source is None:
        return spec.generate.teacher.model
    rounds = (manifest_in(store, step_folder(Stage.GENERATE, 0)), manifest, manifest_in(store, INPUTS))
    frozen = read_teacher(store, rounds)
    with suppress(ObjectMissing):
        frozen = frozen or store.read(f"{folder}/{TEACHER}")
    if frozen is None:
        raise IncompatibleArtifacts(f"{store.uri}/{folder} has no {TEACHER} that says which teacher answered")
    return teacher_identity(spec.generate.teacher, frozen)


def _compare(
    store: Store, manifest: Manifest | None, before: _Replay, after: _Replay, answers: Mapping[str, LedgerRecord]
) -> RefilteredRound:
    was = own = _verdicts(before.round.kept, before.round.rejected, answers)
    if manifest is not None:
        rejected = [
            RejectedRow.model_validate_json(line)
            for line in read_object(store, manifest, "rejected.jsonl").splitlines()
        ]
        was = _verdicts(read_examples(store, manifest, SYNTHETIC), rejected, answers)
        if was and not own:
            folder = step_folder(Stage.GENERATE, before.round.iteration)
            raise IncompatibleArtifacts(
                f"{store.uri}/{folder}: another release worded these requests, so this one does not find the "
                "answers to them: use that release"
            )
    now = _verdicts(after.round.kept, after.round.rejected, answers)
    return RefilteredRound(
        iteration=before.round.iteration,
        finished=manifest is not None,
        answers=len(was),
        kept=sum(each.verdict == KEPT for each in was.values()),
        would_keep=len(after.round.kept),
        unanswered=after.unanswered,
        too_few=after.too_few,
        unexplained=sum(1 for answer in was.keys() | own.keys() if _name(was.get(answer)) != _name(own.get(answer))),
        changes=list(_changes([before.round.row_name(item) for item in before.round.items], was, now)),
    )


def _verdicts(
    kept: Iterable[Example], rejected: Iterable[RejectedRow], answers: Mapping[str, LedgerRecord]
) -> dict[Answer, _Verdict]:
    found: dict[Answer, _Verdict] = {}
    for row in rejected:
        verdict = _Verdict(row.reason, row.detail, row.lineage.seed, row.fields or {}, row.completion, row.text)
        found[row.id, row.lineage.wave] = verdict
    for example in kept:
        lineage = example.lineage
        record = answers.get(lineage.request_key) if lineage else None
        verdict = _Verdict(KEPT, "", example.root, example.fields, example.completion, record.text if record else "")
        found[example.id, lineage.wave if lineage else 0] = verdict
    return found


def _changes(
    rows: Sequence[str], was: Mapping[Answer, _Verdict], now: Mapping[Answer, _Verdict]
) -> Iterator[ChangedAnswer]:
    for answer in ((row, wave) for row in rows for wave in range(WAVES)):
        before, after = was.get(answer), now.get(answer)
        told = after or before
        if told is not None and _name(before) != _name(after):
            yield ChangedAnswer(
                id=answer[0],
                seed=told.seed,
                wave=answer[1],
                was=_name(before),
                now=_name(after),
                detail=after.detail if after else "",
                text=told.text,
                fields=told.fields,
                completion=told.completion,
            )


def _name(verdict: _Verdict | None) -> str:
    return verdict.verdict if verdict else NOT_NEEDED

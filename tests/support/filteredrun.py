"""A finished run of two rounds, judged by the code of Generate, whose teacher is a table of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from llm2llm.api.base import dump_identity
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.loop.stages import step_folder
from llm2llm.records import Example, Manifest, Prediction, Stage, to_jsonl
from llm2llm.stages.round import WAVES, Item, Round, begin_round
from llm2llm.stages.round_inputs import read_inputs
from llm2llm.stages.teacher_endpoint import TEACHER, teacher_identity
from llm2llm.storage import LocalStore, Store
from llm2llm.teacher.ledger import LedgerRecord, merge_records
from tests.support import builders
from tests.support.steps import commit_step, step_of

SEEDS = [
    Example(id=f"s{n}", fields={"prompt": f"{word} is what the {word} row number {n} asks about"}, completion="yes")
    for n, word in enumerate(("apples", "bridges", "clouds", "dragons"))
]
HELD_OUT = [
    Example(id="e0", fields={"prompt": "the held out row of this small run says exactly this"}, completion="no")
]
FROZEN = b'{"revision": "c0ffee"}\n'
"""What a round keeps of a teacher that it serves itself."""
ANSWERS: Mapping[tuple[int, str, int], str] = {
    (0, "s0", 0): "apples and pears and plums and cherries grow in the old garden",
    # a near duplicate of the row before, of ROUGE-L 0.917: kept at 0.95, refused at 0.9
    (0, "s1", 0): "apples and pears and plums and cherries grow in the old garden today now",
    # a copy first, then a row of its own
    (0, "s2", 0): "apples and pears and plums and cherries grow in the old garden",
    (0, "s2", 1): "clouds move over the sea when the wind comes from the west",
    # one that gives away a held-out row, three times
    (0, "s3", 0): HELD_OUT[0].fields["prompt"],
    (0, "s3", 1): HELD_OUT[0].fields["prompt"].upper(),
    (0, "s3", 2): HELD_OUT[0].fields["prompt"] + "!",
    # near to what the first round wrote for s1, 0.96 of it: refused at 0.95
    (1, "s0", 0): "apples and pears and plums and cherries grow in the old garden today now yes",
    (1, "s0", 1): "oranges never grew here until somebody planted a tree behind the house",
    (1, "s1", 0): "bridges over the river were built by people whom nobody remembers",
}
"""What the teacher writes: iteration, seed and wave to the prompt of the row."""


def spec(*, local_teacher: bool = False, **filters: Any) -> dict[str, Any]:
    generate = builders.spec()["generate"] | {"filters": {"minAcceptance": "0", **filters}}
    if local_teacher:
        generate |= {
            "mode": "Local",
            "teacher": {"model": "t", "source": {"uri": "hf://owner/teacher"}},
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
        }
    return builders.spec(generate=generate, maxIterations=3)


def answer(item: Item, wave: int, iteration: int) -> str:
    prompt = ANSWERS[iteration, item.mistake.example.id, wave]
    return json.dumps({"prompt": prompt, "completion": "yes"})


def finished_run(folder: Path, name: str = "keyword", *, local_teacher: bool = False) -> Store:
    """Writes a run with two finished rounds below a work folder."""
    root = folder / "default" / name
    store = LocalStore(root)
    document = spec(local_teacher=local_teacher)
    recorded = dump_identity(AugmentationRunSpec.model_validate(document))
    store.write(RECORD, RunRecord(name=name, namespace="default", uid="u", spec=recorded).to_json().encode())
    commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": to_jsonl(SEEDS), "evaluation.jsonl": to_jsonl(HELD_OUT)})
    for iteration, wrong in enumerate((SEEDS, SEEDS[:2])):
        commit_step(store, step_of(Stage.TRAIN, iteration))
        ids = {seed.id for seed in wrong}
        predictions = [
            Prediction(id=seed.id, output="no", correct=seed.id not in ids, verdict="wrong") for seed in SEEDS
        ]
        commit_step(store, step_of(Stage.EVALUATE, iteration), {"predictions.seed.jsonl": to_jsonl(predictions)})
        commit_round(store, document, iteration)
    return store


def commit_round(store: Store, document: Mapping[str, Any], iteration: int) -> None:
    """Judges a round as Generate does, and commits what it commits."""
    round_ = judged_round(store, document, iteration)
    files: dict[str, bytes | Path] = {
        "synthetic.jsonl": to_jsonl(round_.kept),
        "rejected.jsonl": to_jsonl(round_.rejected),
        "ledger.jsonl": merge_records(round_.answers),
    }
    if round_.spec.generate.teacher.source:
        files[TEACHER] = FROZEN
    commit_step(store, step_of(Stage.GENERATE, iteration), files, generated=round_.judged, kept=len(round_.kept))


def judged_round(
    store: Store, document: Mapping[str, Any], iteration: int, write: Callable[[Item, int, int], str] = answer
) -> Round:
    parsed = AugmentationRunSpec.model_validate(document)
    round_ = begin_round(parsed, iteration, read_inputs(store, iteration, partial(_manifest, store)))
    pending = round_.items
    for wave in range(WAVES):
        records = [_record(round_, item, wave, write(item, wave, iteration)) for item in pending]
        pending = round_.judge_wave(pending, records)
    return round_


def _record(round_: Round, item: Item, wave: int, text: str) -> LedgerRecord:
    request, teacher = round_.request(item, wave), round_.spec.generate.teacher
    identity = teacher_identity(teacher, FROZEN) if teacher.source else teacher.model
    record = LedgerRecord(
        key=request.key(identity, teacher.parameters),
        iteration=request.iteration,
        seed=request.seed,
        sample=request.sample,
        wave=wave,
        model=teacher.model,
    )
    return record.model_copy(update={"text": text, "prompt_digest": request.prompt_digest})


def unfinish(store: Store, iteration: int) -> None:
    """Makes a finished round one that was stopped after its answers: what it paid for is recorded in segments."""
    folder = step_folder(Stage.GENERATE, iteration)
    manifest = _manifest(store, folder)
    store.write(f"{folder}/ledger/pod-a/000000.jsonl", store.read(manifest.object_named("ledger.jsonl").key))
    store.delete(f"{folder}/manifest.json")


def rewrite(store: Store, iteration: int, name: str, change: Callable[[bytes], bytes]) -> None:
    """Commits a round anew, with one of its files changed."""
    folder = step_folder(Stage.GENERATE, iteration)
    manifest = _manifest(store, folder)
    files: dict[str, bytes | Path] = {entry.name: store.read(entry.key) for entry in manifest.objects}
    files[name] = change(store.read(manifest.object_named(name).key))
    store.delete(f"{folder}/manifest.json")
    commit_step(store, step_of(Stage.GENERATE, iteration), files, pod_uid="pod-b")


def _manifest(store: Store, folder: str) -> Manifest:
    manifest = manifest_in(store, folder)
    assert manifest is not None
    return manifest

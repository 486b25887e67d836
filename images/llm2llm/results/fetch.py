"""Brings what a run made to a folder or a file: its best student, and the rows that it was trained on."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from llm2llm.artifacts.committed import download_folder, manifest_in
from llm2llm.data.rows import read_resolved, training_set
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.layout import trained_part
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.fetch import fetch_model
from llm2llm.models.files import STUDENT
from llm2llm.records import Example, Manifest, Stage
from llm2llm.report.collect import Contents, collect
from llm2llm.results.card import dataset_card, model_card
from llm2llm.results.student import StudentRecord, record_of, trained_in
from llm2llm.results.targets import NamedRun
from llm2llm.results.views import apart, iteration_named

PROMPT_TEMPLATE = "prompt_template.jinja"


def fetch_student(run: NamedRun, folder: Path, index: int | None) -> str:
    """Copies a student into a folder, each file compared with its hash; returns the digest of the training's output.

    Beside its files there are then `llm2llm.json`, which says what it was trained for (results/student.py), and a card
    with its scores (results/card.py).

    Args:
        run: that trained it.
        folder: to write to: new or empty.
        index: iteration of the student; the best one if None.

    Raises:
        ConfigurationError: the folder has files or cannot be written, or there is no such student.
        IncompatibleArtifacts: a file is missing or damaged, or the student is not the one that the run's status names.
    """
    view = run.view()
    contents = collect(view, run.store)
    iteration, manifest = trained_in(run, contents, index)
    _compare_with_status(run, manifest, iteration.index)
    record = record_of(view, iteration.index, manifest, manifest_in(run.store, INPUTS))
    try:
        _check_free(folder)
        with _new_folder(folder) as new:
            download_folder(run.store, manifest, f"{record.part}/", new)
            _describe(new, contents, record)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror or error}: name another folder") from error
    return manifest.digest


def fetch_merged(
    run: NamedRun,
    folder: Path,
    index: int | None,
    precision: Literal["Auto", "fp32", "bf16"],
    environ: Mapping[str, str],
) -> str:
    """Writes a student as a complete model, its adapter merged into its base; returns what was written, in words.

    Args:
        run: that trained it.
        folder: to write to: new or empty.
        index: iteration of the student; the best one if None.
        precision: of the weights (training.model.merge_adapter).
        environ: has the credentials for the base model.

    Raises:
        ConfigurationError: see fetch_student, and: its base is quantized, or cannot be fetched.
        IncompatibleArtifacts: see fetch_student, and: the base model has changed since.
    """
    from llm2llm.training.model import merge_adapter

    spec, prepared = run.view().spec, manifest_in(run.store, INPUTS)
    if spec.train.method == "QLoRA":
        raise ConfigurationError(
            "an adapter of QLoRA is never merged: it has learned to make up for the rounding of its base to 4 bits, so "
            "that it answers worse on another one. Fetch it without --merged, and serve it on its base in nf4"
        )
    if trained_part(spec) == "model" or prepared is None:
        return f"{fetch_student(run, folder, index)}, a complete model"
    _check_free(folder)
    with TemporaryDirectory(prefix="llm2llm-") as scratch:
        adapter = Path(scratch, "adapter")
        digest = fetch_student(run, adapter, index)
        revision = read_resolved(prepared).model_revision
        base = fetch_model(spec, revision, environ, Path(scratch), store=run.store)
        with _new_folder(folder) as new:
            written = merge_adapter(adapter, base, new, precision, trusted=spec.student.trust_remote_code)
            _describe_merged(run, adapter, new)
    return f"{digest} merged into {spec.student.model.uri}, in {written}"


def fetch_dataset(run: NamedRun, folder: Path, index: int | None) -> str:
    """Writes the rows that a student was trained on (`train.jsonl`) with their card; returns their number, in words.

    Raises:
        ConfigurationError: the folder has files or cannot be written, or there is no such student.
        IncompatibleArtifacts: a file is missing or damaged.
    """
    view, rows = run.view(), list(training_rows(run, index))
    contents = collect(view, run.store)
    iteration, manifest = trained_in(run, contents, index)
    record = record_of(view, iteration.index, manifest, manifest_in(run.store, INPUTS))
    _check_free(folder)
    with _new_folder(folder) as new:
        write_rows(iter(rows), new / "train.jsonl")
        (new / "README.md").write_text(dataset_card(contents, record, rows), encoding="utf-8")
        (new / STUDENT).write_text(record.to_json() + "\n", encoding="utf-8")
    return f"{len(rows):,} rows"


def _describe(folder: Path, contents: Contents, record: StudentRecord) -> None:
    (folder / STUDENT).write_text(record.to_json() + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(contents, record), encoding="utf-8")


def _describe_merged(run: NamedRun, adapter: Path, merged: Path) -> None:
    """Writes into a merged model's folder what its prompts are made of, and its card."""
    record = StudentRecord.model_validate_json((adapter / STUDENT).read_bytes())
    _describe(merged, collect(run.view(), run.store), record.model_copy(update={"part": "model"}))
    if (adapter / PROMPT_TEMPLATE).exists():
        shutil.copyfile(adapter / PROMPT_TEMPLATE, merged / PROMPT_TEMPLATE)


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} exists and is not an empty folder: name another one")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, whose content is in `folder` once all went well; else nothing is left of it."""
    exists = folder.exists()
    new = (folder if exists else folder.parent) / f".{folder.name}.{secrets.token_hex(4)}"
    new.mkdir(parents=True)
    try:
        yield new
        if exists:  # its place may be a mount, or where somebody works: it stays
            for path in new.iterdir():
                path.rename(folder / path.name)
            new.rmdir()
        else:
            new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _compare_with_status(run: NamedRun, manifest: Manifest, index: int) -> None:
    best = (run.document.get("status") or {}).get("best") or {}
    if best.get("iteration") == index and best.get("digest") not in (None, manifest.digest):
        raise IncompatibleArtifacts(
            f"{run.title}: the best student in the store ({manifest.digest}) is not the one in the run's status "
            f"({best['digest']}): it was exchanged; `llm2llm verify` tells more"
        )


def training_rows(run: NamedRun, index: int | None) -> Iterator[dict[str, Any]]:
    """Returns the rows that a student was trained on: the seed set, then what the teacher wrote before.

    Each has its fields and its `completion`, and says where it comes from: `source` (seed or the teacher's name),
    `iteration` and `seed` (the row that it was written for).

    Raises:
        ConfigurationError: there is no such student.
        IncompatibleArtifacts: a file is missing or damaged.
    """
    view = run.view()
    iteration = iteration_named(collect(view, run.store), index)
    step = replace(view, stage=Stage.TRAIN, iteration=iteration.index)
    folders = (INPUTS, *(step_folder(Stage.GENERATE, number) for number in range(step.id.rounds)))
    manifests = {folder: manifest_in(run.store, folder) for folder in folders}
    parents = {folder: manifest.digest for folder, manifest in manifests.items() if manifest}
    return map(_row, training_set(run.store, replace(step, parents=parents)))


def _row(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {"id": example.id, **apart(example.fields), "completion": example.completion}
    if example.lineage is None:
        return row | {"source": "seed"}
    lineage = example.lineage
    return row | {"source": lineage.teacher or "teacher", "iteration": lineage.iteration, "seed": lineage.seed}


def write_rows(rows: Iterator[dict[str, Any]], path: Path) -> int:
    """Writes rows as JSON lines to a new file; returns how many there are.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    count = 0
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                for row in rows:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
            except BaseException:
                path.unlink()
                raise
    except FileExistsError:
        raise ConfigurationError(f"{path} exists: name another file, or delete it") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}: name another file") from error
    return count

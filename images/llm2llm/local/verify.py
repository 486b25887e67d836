"""Finds what `llm2llm verify` is to read, and prints what it found."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm2llm.api.data import S3Access
from llm2llm.artifacts.verify import VerifiedStep, verify_run
from llm2llm.errors import ConfigurationError, ExitCode
from llm2llm.local.documents import read_documents
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.cache import LIST, damage_reason
from llm2llm.plaintext import plain
from llm2llm.records import Stage
from llm2llm.storage import ObjectMissing, Store, open_store


@dataclass(frozen=True)
class VerifiedRun:
    """A run to verify: its name for the output, its store, and the digests that its status has by folder."""

    name: str
    store: Store
    digests: Mapping[str, str] = field(default_factory=dict)
    weights_of_all: bool = False


def verify_target(target: str, endpoint: str, environ: Mapping[str, str]) -> int:
    """Verifies the runs, or the cached models, that `target` names, and prints each step; returns the exit code.

    Raises:
        ConfigurationError: there is nothing to verify.
        InvalidManifest: a file is no run.
        StepError: the store cannot be read.
    """
    models = sorted(path.parent for path in _folder(target).rglob(LIST)) if _folder(target).is_dir() else []
    problems = sum(_print_model(folder) for folder in models)
    runs = list(_runs(target, endpoint, environ))
    steps = 0
    for run in runs:
        if len(runs) > 1:
            print(f"{run.name}:")
        for step in verify_run(run.store, run.digests, run.weights_of_all):
            steps += 1
            problems += _print_step(step)
    if not steps and not models:
        raise ConfigurationError(
            f"{target}: found no committed step: name the root of a run (status.artifactsUri), a work folder, or a "
            "file with the run"
        )
    print(f"{steps} steps and {len(models)} models read, {problems} problems")
    return ExitCode.INCOMPATIBLE if problems else ExitCode.DONE


def _folder(target: str) -> Path:
    return Path(target) if "://" not in target else Path("/nonexistent")


def _runs(target: str, endpoint: str, environ: Mapping[str, str]) -> Iterator[VerifiedRun]:
    access = S3Access(endpoint=endpoint)
    path = Path(target)
    if "://" in target:
        above = open_store(target.rstrip("/"), access, environ)
        for record in [key for key in above.list("") if key.endswith(f"/{RECORD}")] or [f"/{RECORD}"]:
            root = f"{target.rstrip('/')}/{record.removesuffix(f'/{RECORD}')}".rstrip("/")
            store = open_store(root, access, environ)
            yield VerifiedRun(root, store, weights_of_all=_keeps_all(store))
    elif path.is_dir():
        for folder in [record.parent for record in sorted(path.rglob(RECORD))] or [path]:
            store = open_store(folder.absolute().as_uri(), access, environ)
            yield VerifiedRun(str(folder), store, weights_of_all=_keeps_all(store))
    else:
        for file, document in read_documents([path]).runs:
            yield _run_of(file, document, endpoint, environ)


def _run_of(file: Path, document: Mapping[str, Any], endpoint: str, environ: Mapping[str, str]) -> VerifiedRun:
    """Returns the run of an object with its status, as the API server has it."""
    status, artifacts = document.get("status") or {}, (document.get("spec") or {}).get("artifacts") or {}
    uri = status.get("artifactsUri")
    if not uri:
        raise ConfigurationError(
            f"{file}: the run has no status.artifactsUri: print it with `kubectl get arun -o yaml`"
        )
    fields = {name: artifacts[name] for name in ("endpoint", "region", "pathStyle") if artifacts.get(name) is not None}
    access = S3Access.model_validate(fields | ({"endpoint": endpoint} if endpoint else {}))
    try:
        digests = _digests(status)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{file}: the run's status cannot be read: {error!r}") from error
    name, store = str((document.get("metadata") or {}).get("name")), open_store(uri, access, environ)
    return VerifiedRun(name, store, digests, artifacts.get("retention", "All") == "All")


def _keeps_all(store: Store) -> bool:
    """Returns whether a local run's record says that no weights are deleted; a folder without a record does not say."""
    try:
        record = RunRecord.model_validate_json(store.read(RECORD))
    except (ObjectMissing, ValueError):
        return False
    return bool((record.spec.get("artifacts") or {}).get("retention", "All") == "All")


def _digests(status: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digests that a run's status has, by the folders of their steps."""
    found = {INPUTS: status.get("inputsDigest")}
    for row in status.get("iterations") or ():
        for step in row.get("steps") or ():
            if step.get("outcome") == "Succeeded":
                found[step_folder(Stage(step["stage"]), int(row["index"]))] = step.get("digest")
    best = status.get("best") or {}
    if best.get("digest"):
        folder = step_folder(Stage.TRAIN, int(best["iteration"]))
        found.pop(folder, None)  # verify_run takes the last one for the best
        found[folder] = best["digest"]
    return {folder: digest for folder, digest in found.items() if digest}


def _print_step(step: VerifiedStep) -> int:
    for problem in step.problems:
        print(plain(f"{step.folder}: {problem}"), file=sys.stderr)
    if not step.problems:
        gone = ", without its weights (artifacts.retention)" if step.without_weights else ""
        print(plain(f"{step.folder}: {step.objects} objects, {step.bytes / 1e6:.1f} MB, {step.digest}{gone}"))
    return len(step.problems)


def _print_model(folder: Path) -> int:
    reason = damage_reason(folder)
    print(
        plain(f"{folder}: {reason or 'as it was when the cache was filled'}"), file=sys.stderr if reason else sys.stdout
    )
    return bool(reason)

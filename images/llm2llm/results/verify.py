"""Finds what `llm2llm verify` is to read, and prints what it found."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm2llm.artifacts.verify import VerifiedStep, verify_run
from llm2llm.errors import ConfigurationError, ExitCode
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.cache import LIST, damage_reason
from llm2llm.plaintext import plain
from llm2llm.records import Stage
from llm2llm.results.targets import NamedRun, named_runs


def verify_target(target: str, endpoint: str, environ: Mapping[str, str]) -> int:
    """Verifies the runs, or the cached models, that `target` names, and prints each step; returns the exit code.

    Raises:
        ConfigurationError: there is nothing to verify.
        InvalidManifest: a file is no run.
        StepError: the store cannot be read.
    """
    models = sorted(path.parent for path in _folder(target).rglob(LIST)) if _folder(target).is_dir() else []
    problems = sum(_print_model(folder) for folder in models)
    runs = list(named_runs(target, endpoint, environ))
    steps = 0
    for run in runs:
        if len(runs) > 1:
            print(f"{run.title}:")
        for step in verify_run(run.store, _digests_of(run), _keeps_all(run)):
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


def _keeps_all(run: NamedRun) -> bool:
    """Returns whether the run says that no weights are deleted; a folder without a record does not say."""
    spec = run.document.get("spec") or (run.record.spec if run.record else None)
    return spec is not None and bool((spec.get("artifacts") or {}).get("retention", "All") == "All")


def _digests_of(run: NamedRun) -> dict[str, str]:
    """Returns the digests that a run's status has, by the folders of their steps; none where there is no status.

    Raises:
        ConfigurationError: the status is none.
    """
    try:
        return _digests(run.document["status"]) if run.document else {}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{run.file}: the run's status cannot be read: {error!r}") from error


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

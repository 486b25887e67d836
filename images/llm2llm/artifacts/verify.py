"""Reads everything that a run has committed, and compares it with what its manifests and its status say.

A step compares the digest of each output that it reads; this reads all outputs, also those that no later step needs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llm2llm.artifacts.committed import manifest_in
from llm2llm.artifacts.retention import weights_of
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.layout import manifest_key
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Manifest, Stage, StoredObject, digest_of
from llm2llm.storage import ObjectMissing, Store

_MANIFEST = manifest_key("")
_STEP = re.compile(rf"({INPUTS}|iterations/[0-9]+/[a-z]+){re.escape(_MANIFEST)}")
_TRAINED = f"/{Stage.TRAIN.value.lower()}"


@dataclass(frozen=True)
class VerifiedStep:
    """What was found in a step's folder.

    Attributes:
        folder: the step's, relative to the run's root.
        digest: of its output, recomputed; empty if its manifest cannot be read.
        objects: number of objects that were read.
        bytes: their size.
        problems: what differs, one sentence each.
        without_weights: whether its weights are gone, all of them, as `artifacts.retention: BestAndLast` leaves it.
    """

    folder: str
    digest: str = ""
    objects: int = 0
    bytes: int = 0
    problems: tuple[str, ...] = ()
    without_weights: bool = False


def verify_run(
    store: Store, expected: Mapping[str, str] | None = None, weights_of_all: bool = False
) -> Iterator[VerifiedStep]:
    """Yields each committed step below a run's root, in lexical order of folders, then those that are missing.

    Args:
        store: its root is the run's.
        expected: folder of a step to the digest that the run's status has for it.
        weights_of_all: whether all weights have to be there (`artifacts.retention: All`). Otherwise those of the newest
            training and of the best one, which is the last of `expected` that trained, have to.

    Raises:
        Transient: the store cannot be reached.
    """
    expected = expected or {}
    manifests = (key for key in store.list("") if key.endswith(_MANIFEST) and _STEP.fullmatch(key))
    folders = sorted(key.removesuffix(_MANIFEST) for key in manifests)
    kept = _folders_with_weights(folders, expected)
    for folder in folders:
        try:
            manifest = manifest_in(store, folder)
            if manifest is not None:
                needed = weights_of_all or folder in kept
                yield _verify_step(store, folder, manifest, expected.get(folder, ""), weights_needed=needed)
        except (IncompatibleArtifacts, ConfigurationError) as error:
            yield VerifiedStep(folder, problems=(error.message,))
    for folder in sorted(expected.keys() - set(folders)):
        yield VerifiedStep(folder, problems=(f"{store.uri}/{manifest_key(folder)} is missing",))


def _folders_with_weights(folders: list[str], expected: Mapping[str, str]) -> set[str]:
    """Returns the trainings whose weights no retention deletes: the newest, and the best by the run's status."""
    trained = [folder for folder in folders if folder.endswith(_TRAINED)]
    best = [folder for folder in expected if folder.endswith(_TRAINED)]
    return {*trained[-1:], *best[-1:]}


def _verify_step(store: Store, folder: str, manifest: Manifest, expected: str, *, weights_needed: bool) -> VerifiedStep:
    problems = [*_manifest_problems(folder, manifest)]
    if expected and manifest.digest != expected:
        problems.append(f"its digest is {manifest.digest}, but the run's status says {expected}")
    for parent, digest in manifest.parents.items():
        problems += _parent_problem(store, parent, digest)
    weights = weights_of(manifest)
    without_weights = bool(weights) and not weights_needed and not any(key in store.list(key) for key in weights)
    read = [entry for entry in manifest.objects if not (without_weights and entry.key in weights)]
    for entry in read:
        problems += _object_problem(store, entry)
    size = sum(entry.size for entry in read)
    return VerifiedStep(folder, manifest.digest, len(read), size, tuple(problems), without_weights)


def _manifest_problems(folder: str, manifest: Manifest) -> Iterator[str]:
    """Yields what in a manifest contradicts itself. Its metrics and messages are witnessed by nothing."""
    if manifest.content_key != digest_of(manifest.key_fields):
        yield "its content key is not that of its key fields"
    if manifest.key_fields.get("parents") != manifest.parents:
        yield "its parents are not those of its key fields"
    report = manifest.report
    if folder != step_folder(report.stage, report.iteration):
        yield f"its report is of {step_folder(report.stage, report.iteration)}"


def _parent_problem(store: Store, folder: str, digest: str) -> Iterator[str]:
    try:
        parent = manifest_in(store, folder)
    except (IncompatibleArtifacts, ConfigurationError):
        return  # which is told where its own step is
    if parent is None:
        yield f"it was made from {folder}, which is gone"
    elif parent.digest != digest:
        yield f"it was made from {folder} with digest {digest}, which has {parent.digest} now"


def _object_problem(store: Store, entry: StoredObject) -> Iterator[str]:
    with TemporaryDirectory(prefix="llm2llm-verify-") as folder:
        path = Path(folder) / "object"
        try:
            store.download(entry.key, path)
        except ObjectMissing:
            yield f"{store.uri}/{entry.key} is missing"
            return
        except ConfigurationError as error:
            yield error.message
            return
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                yield f"{store.uri}/{entry.key} is damaged or was changed: its sha256 is not the one in its manifest"
            elif path.stat().st_size != entry.size:
                yield f"{store.uri}/{entry.key} has {path.stat().st_size} bytes, but its manifest says {entry.size}"

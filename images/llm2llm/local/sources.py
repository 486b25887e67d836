"""Compares the user's files with what a run began with: its rows are frozen, so an edited file would have no effect.

Without this, whoever corrects a row and runs the same command is shown the old scores. A file that is gone is none of
it: the run has its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from llm2llm.api.data import HeldOutSource, Source
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in
from llm2llm.data.rows import read_resolved
from llm2llm.data.sources import digest_of_content, read_content
from llm2llm.errors import IncompatibleArtifacts, StepError
from llm2llm.loop.stages import step_folder
from llm2llm.models.fetch import model_revision, teacher_source
from llm2llm.records import Manifest, Stage
from llm2llm.stages.teacher_endpoint import read_teacher, teacher_revision
from llm2llm.storage import Store

_PINNED = "hf://"
"""A dataset or model on the Hub: a model is resolved to a commit once, and later commits do not concern the run."""


@dataclass(frozen=True)
class _Origin:
    """Something of the user's that Prepare has read.

    Attributes:
        field: the field of the spec that names it.
        then: what identified its content.
        identify: returns what identifies its content now; raises StepError if it cannot be read.
    """

    field: str
    uri: str
    then: str
    identify: Callable[[], str]


def check_sources(
    spec: AugmentationRunSpec,
    inputs: Manifest,
    store: Store,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Compares rows and models with those that Prepare has read, except those on the Hub.

    Args:
        spec: the run's.
        inputs: the manifest of Prepare; one of an earlier release does not say what its rows were read from.
        store: the run's; it knows the hashes of a model's unchanged files.
        environ: that of Prepare.
        say: is told which could not be read, if any.

    Raises:
        IncompatibleArtifacts: some have changed; the message says which, and what to do.
    """
    changed, unread = [], []
    for origin in _origins(spec, inputs, store, environ):
        try:
            now = origin.identify()
        except StepError as error:
            unread.append(f"{origin.field}: {error.message}")
            continue
        if now != origin.then:
            changed.append(f"{origin.uri} ({origin.field})")
    if changed:
        raise IncompatibleArtifacts(
            f"{' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed since this run began: restore "
            f"{'it' if len(changed) == 1 else 'them'}, or use another --workdir with spec.reuseFrom: "
            f"[{{uri: {store.uri}}}], so that what is unchanged is not paid for again"
        )
    if unread:
        say(f"not compared with what this run began with, because it cannot be read: {'; '.join(unread)}")


def _origins(
    spec: AugmentationRunSpec, inputs: Manifest, store: Store, environ: Mapping[str, str]
) -> Iterator[_Origin]:
    resolved = read_resolved(inputs)
    for name, source in spec.data.sources().items():
        then = (resolved.sources or {}).get(name)
        if source.uri and then and not source.uri.startswith(_PINNED):
            yield _Origin(
                f"spec.data.{name}",
                source.uri,
                then,
                partial(_digest_of_rows, name, source.uri, source, spec, environ),
            )
    student = spec.student.model
    if not student.uri.startswith(_PINNED):
        yield _Origin(
            "spec.student.model",
            student.uri,
            resolved.model_revision,
            lambda: model_revision(spec, environ, store=store),
        )
    teacher = spec.generate.teacher.source
    frozen = _frozen_teacher(inputs, store) if teacher and not teacher.uri.startswith(_PINNED) else None
    if teacher and frozen:
        yield _Origin(
            "spec.generate.teacher.source",
            teacher.uri,
            teacher_revision(frozen),
            lambda: model_revision(spec, environ, teacher_source(teacher), store=store),
        )


def _frozen_teacher(inputs: Manifest, store: Store) -> bytes | None:
    """Returns what the first round has frozen of a local teacher (Prepare, in earlier releases); None before it."""
    return read_teacher(store, (inputs, manifest_in(store, step_folder(Stage.GENERATE, 0))))


def _digest_of_rows(
    name: str, uri: str, source: Source | HeldOutSource, spec: AugmentationRunSpec, environ: Mapping[str, str]
) -> str:
    return digest_of_content(read_content(name, uri, source, spec, environ))

"""Opens the teacher that a generation step asks: the endpoint in the spec, or a vLLM server of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llm2llm.api.generate import Teacher, TeacherSource
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in, parent_manifest, read_object
from llm2llm.errors import ConfigurationError
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.fetch import fetch_model, model_revision, teacher_source
from llm2llm.models.folder import read_json
from llm2llm.models.info import attention_heads
from llm2llm.models.tokenizer import has_chat_template
from llm2llm.records import Manifest, Stage, canonical_json
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.engine_checks import check_heads, check_teacher
from llm2llm.storage import ObjectMissing, Store

TEACHER = "teacher.json"
"""File of a round, in mode Local: the teacher's source and its revision, the same in all rounds of a run. Earlier
releases had it among the frozen inputs, which made every training depend on the teacher."""


@dataclass(frozen=True)
class TeacherEndpoint:
    """What a client needs to know of the teacher.

    Attributes:
        identity: the model's name and, in mode Local, its source and revision; part of the key of each answer.
        start: starts the teacher if needed, and returns once it accepts requests.
        check: raises if it no longer accepts requests.
    """

    teacher: Teacher
    environ: Mapping[str, str]
    identity: str
    start: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None


@contextmanager
def open_teacher(
    spec: AugmentationRunSpec, step: Step, store: Store, context: StepContext, tell: Callable[[str], None]
) -> Iterator[TeacherEndpoint]:
    """Yields the teacher of a run for as long as the step needs it; a local teacher ends with the context."""
    teacher, source = spec.generate.teacher, spec.generate.teacher.source
    if source is None:
        yield TeacherEndpoint(teacher, context.environ, teacher.model)
        return
    from llm2llm.teacher.local import LocalTeacher

    check_teacher(spec)  # GPUs may have been changed since Prepare
    frozen = freeze_teacher(step, source, store, context)
    revision = teacher_revision(frozen)

    def model() -> Path:
        tell("downloading the teacher's weights")
        return fetch_model(spec, revision, context.environ, context.scratch, model=teacher_source(source), store=store)

    with LocalTeacher(
        spec.generate, model, context.scratch / "teacher", context.environ, tell, context.stopping, context.mask
    ) as local:
        identity = teacher_identity(teacher, frozen)
        yield TeacherEndpoint(local.address, local.client_environ, identity, local.start, local.check)


def freeze_teacher(step: Step, source: TeacherSource, store: Store, context: StepContext) -> bytes:
    """Returns `teacher.json`: that of an earlier round, or of an earlier attempt of this one, or else a new one.

    Raises:
        ConfigurationError: see resolve_teacher.
    """
    rounds = [step_folder(Stage.GENERATE, iteration) for iteration in range(step.iteration)]
    frozen = read_teacher(store, (parent_manifest(store, step, folder) for folder in (INPUTS, *rounds)))
    if frozen is not None:
        return frozen
    key = f"{step.folder}/{TEACHER}"
    with suppress(ObjectMissing):
        return store.read(key)
    store.create(key, resolve_teacher(step.spec, source, store, context))
    return store.read(key)  # another pod's, if it was first


def read_teacher(store: Store, manifests: Iterable[Manifest | None]) -> bytes | None:
    """Returns `teacher.json` of the first of these outputs that has one; None if none has."""
    for manifest in manifests:
        if manifest and any(entry.name == TEACHER for entry in manifest.objects):
            return read_object(store, manifest, TEACHER)
    return None


def teacher_revision(frozen: bytes) -> str:
    """Returns the revision in a `teacher.json`: a commit or a digest."""
    return str(json.loads(frozen)["revision"])


def teacher_identity(teacher: Teacher, frozen: bytes) -> str:
    """Returns what the keys of answers have of a local teacher: its name, its source, and its revision."""
    assert teacher.source is not None  # noqa: S101 - it is what mode Local has
    return f"{teacher.model} {teacher.source.uri}@{teacher_revision(frozen)}"


def has_same_teacher(step: Step, store: Store, context: StepContext, other: Store, manifest: Manifest) -> bool:
    """Returns whether another run's round has this run's teacher, which is frozen for that; an endpoint always is.

    The content key of a round has the source of a local teacher as the spec names it, e.g. a branch, which may lead to
    other weights by now.

    Raises:
        ConfigurationError: see resolve_teacher.
    """
    source = step.spec.generate.teacher.source
    if source is None:
        return True
    theirs = read_teacher(other, (manifest, manifest_in(other, INPUTS)))
    mine = freeze_teacher(step, source, store, context)
    return theirs is not None and teacher_revision(theirs) == teacher_revision(mine)


def resolve_teacher(spec: AugmentationRunSpec, source: TeacherSource, store: Store, context: StepContext) -> bytes:
    """Checks a local teacher's config, tokenizer and chat template without its weights; returns `teacher.json`.

    Raises:
        ConfigurationError: vLLM could not serve it to a chat client.
    """
    model = teacher_source(source)
    revision = model_revision(spec, context.environ, model, store=store)
    folder = fetch_model(spec, revision, context.environ, context.scratch, weights=False, model=model, store=store)
    config = read_json(folder / "config.json", model.field)
    architectures = config.get("architectures")
    if not architectures:
        raise ConfigurationError(f"{model.field}: {source.uri}: its config.json names no architecture")
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")):
        raise ConfigurationError(f"{model.field}: {source.uri} has no tokenizer")
    if not has_chat_template(folder, model.field):
        raise ConfigurationError(
            f"{model.field}: {source.uri} has no chat template: use an instruction-tuned model, or add a "
            "chat_template.jinja to it"
        )
    check_teacher(spec)
    check_heads("spec.generate", attention_heads(config), spec.generate.tensor_parallel_size)
    document = {"uri": source.uri, "revision": revision, "architectures": architectures}
    return (canonical_json(document) + "\n").encode()

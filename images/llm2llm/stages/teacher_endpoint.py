"""Opens the teacher that a generation step asks: the endpoint in the spec, or a vLLM server of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm2llm.api.generate import Teacher, TeacherSource
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import parent_manifest, read_object
from llm2llm.errors import ConfigurationError
from llm2llm.loop.stages import INPUTS
from llm2llm.models.fetch import fetch_model, model_revision, teacher_source
from llm2llm.models.tokenizer import has_chat_template
from llm2llm.records import canonical_json
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.engine_checks import check_heads, check_teacher
from llm2llm.storage import Store

TEACHER = "teacher.json"
"""File of the frozen inputs, in mode Local: the teacher's source and its revision."""


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
    frozen = json.loads(read_object(store, parent_manifest(store, step, INPUTS), TEACHER))
    revision = str(frozen["revision"])

    def model() -> Path:
        tell("downloading the teacher's weights")
        return fetch_model(spec, revision, context.environ, context.scratch, model=teacher_source(source), store=store)

    with LocalTeacher(
        spec.generate, model, context.scratch / "teacher", context.environ, tell, context.stopping
    ) as local:
        identity = f"{teacher.model} {source.uri}@{revision}"
        yield TeacherEndpoint(local.address, local.client_environ, identity, local.start, local.check)


def resolve_teacher(spec: AugmentationRunSpec, source: TeacherSource, store: Store, context: StepContext) -> bytes:
    """Checks a local teacher's config, tokenizer and chat template without its weights; returns `teacher.json`.

    Raises:
        ConfigurationError: vLLM could not serve it to a chat client.
    """
    model = teacher_source(source)
    revision = model_revision(spec, context.environ, model, store=store)
    folder = fetch_model(spec, revision, context.environ, context.scratch, weights=False, model=model, store=store)
    config = _read_json(folder / "config.json")
    architectures = config.get("architectures")
    if not architectures:
        raise ConfigurationError(f"{model.field}: {source.uri}: its config.json names no architecture")
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")):
        raise ConfigurationError(f"{model.field}: {source.uri} has no tokenizer")
    if not has_chat_template(folder):
        raise ConfigurationError(
            f"{model.field}: {source.uri} has no chat template: use an instruction-tuned model, or add a "
            "chat_template.jinja to it"
        )
    check_teacher(spec)
    check_heads("spec.generate", config.get("num_attention_heads"), spec.generate.tensor_parallel_size)
    document = {"uri": source.uri, "revision": revision, "architectures": architectures}
    return (canonical_json(document) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

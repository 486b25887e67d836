"""Checks of a valid run that need this machine alone: its template, its pattern, and the paths of its files.

The API server cannot compile a template, and it refuses `file://` altogether; Prepare finds the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import mapping_problem
from llm2llm.errors import ConfigurationError
from llm2llm.manifests.hints import address_of
from llm2llm.tasks import task_of

_FILE, _ABSOLUTE = "file://", "file:///"


def local_problems(spec: AugmentationRunSpec) -> Iterator[str]:
    """Yields what cannot work in a spec, one sentence each, with its path."""
    for path, uri in uris_of(spec):
        if uri.startswith(_FILE) and not uri.startswith(_ABSOLUTE):
            absolute = address_of(uri.removeprefix(_FILE))
            yield f"{path}: the path in {uri} must be absolute" + (f": did you mean {absolute}?" if absolute else "")
    unmapped = ""
    for name, source in spec.data.sources().items():
        if (source.fields or name == "seed") and (problem := mapping_problem(source.fields)):
            unmapped = f"spec.data.{name}.fields: {problem}"
            yield unmapped
    try:
        task = task_of(spec.task)
    except ConfigurationError as error:
        yield error.message
    else:
        if not unmapped and (problem := task.unknown_field(spec.data.seed.fields)):
            yield problem


def uris_of(spec: AugmentationRunSpec) -> Iterator[tuple[str, str]]:
    """Yields the path and the value of each URI in a spec."""
    for name, source in spec.data.sources().items():
        yield f"spec.data.{name}.uri", source.uri or ""
    yield "spec.student.model.uri", spec.student.model.uri
    yield "spec.artifacts.uri", spec.artifacts.uri
    if spec.generate.teacher.source:
        yield "spec.generate.teacher.source.uri", spec.generate.teacher.source.uri
    for index, reused in enumerate(spec.reuse_from):
        yield f"spec.reuseFrom[{index}].uri", reused.uri

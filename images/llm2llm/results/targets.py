"""Finds the runs that a command line names: a work folder, a root in a store, a file with the run's object, or its name
on a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llm2llm.api.data import S3Access
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.manifests.documents import read_documents
from llm2llm.records import Stage
from llm2llm.runtime.context import Step
from llm2llm.storage import ObjectMissing, Store, open_store

_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,62}/)?[a-z0-9][a-z0-9.-]{0,252}")
"""Of a run on a cluster, perhaps after its namespace."""
_FILES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class NamedRun:
    """A run that was named: its title for the output, its store, and what is known of it beside the artifacts.

    Attributes:
        file: where its object was found.
        document: the run's object, if a file has it: with its spec and status.
        record: what a local run left at its root.
        problem: why that cannot be read, if there is something.
    """

    title: str
    store: Store
    file: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    record: RunRecord | None = None
    problem: str = ""

    def view(self) -> Step:
        """Returns a step by which the report of the run is read.

        Raises:
            ConfigurationError: nothing says what the run's spec is, or it cannot be read.
            IncompatibleArtifacts: the record of a local run cannot be read.
        """
        if self.problem:
            raise IncompatibleArtifacts(f"{RECORD} cannot be read: {self.problem}")
        metadata, spec = self.document.get("metadata") or {}, self.document.get("spec")
        if self.record:
            spec, metadata = self.record.spec, {"name": self.record.name, "namespace": self.record.namespace}
        if spec is None:
            raise ConfigurationError(
                f"{self.title} has no {RECORD} that says what its spec is: save the run with `kubectl get arun NAME -o "
                "yaml > NAME.yaml`, and name that file"
            )
        try:
            parsed = AugmentationRunSpec.model_validate(spec)
        except ValidationError as error:
            raise ConfigurationError(f"{self.title}: the spec of the run cannot be read: {_first(error)}") from error
        name, namespace = str(metadata.get("name", "")), str(metadata.get("namespace", "default"))
        ended = Stage.TEST if (self.document.get("status") or {}).get("phase") == "Succeeded" else Stage.EVALUATE
        return Step(stage=ended, spec=parsed, namespace=namespace, run=name, run_uid=str(metadata.get("uid", "")))


def named_runs(target: str, endpoint: str, environ: Mapping[str, str]) -> Iterator[NamedRun]:
    """Yields the runs that `target` names; a root without a record is one, too, with nothing known of it.

    Raises:
        ConfigurationError: a file's run has no artifacts yet.
        InvalidManifest: a file is no run.
        StepError: the store cannot be read.
    """
    access = S3Access(endpoint=endpoint)
    path = Path(target)
    if "://" in target:
        above = open_store(target.rstrip("/"), access, environ)
        for record in [key for key in above.list("") if key.endswith(f"/{RECORD}")] or [f"/{RECORD}"]:
            root = f"{target.rstrip('/')}/{record.removesuffix(f'/{RECORD}')}".rstrip("/")
            store = open_store(root, access, environ)
            yield _with_record(NamedRun(root, store))
    elif path.is_dir():
        for folder in [record.parent for record in sorted(path.rglob(RECORD))] or [path]:
            store = open_store(folder.absolute().as_uri(), access, environ)
            yield _with_record(NamedRun(str(folder), store))
    elif not path.exists() and (document := _on_a_cluster(target)) is not None:
        yield _run_of(Path(target), document, endpoint, environ)
    else:
        for file, document in read_documents([path]).runs:
            yield _run_of(file, document, endpoint, environ)


def the_run(target: str, endpoint: str, environ: Mapping[str, str]) -> NamedRun:
    """Returns the one run that `target` names.

    Raises:
        ConfigurationError: it names none or several; and as `named_runs`.
    """
    runs = list(named_runs(target, endpoint, environ))
    if len(runs) > 1:
        titles = ", ".join(run.title for run in runs)
        raise ConfigurationError(f"{target} has {len(runs)} runs: name one of {titles}")
    if not runs or next(iter(runs[0].store.list("")), None) is None:
        raise ConfigurationError(
            f"{target}: found no run: name a work folder (--workdir), the root of a run (status.artifactsUri), a file "
            "with the run, or a run on a cluster"
        )
    return runs[0]


def _on_a_cluster(target: str) -> Mapping[str, Any] | None:
    """Returns the run of this name on a cluster; None if it is no name, or nothing here can ask a cluster.

    Raises:
        ConfigurationError: there is no such run, or no cluster to ask.
        Transient: the cluster cannot be asked.
    """
    if not _NAME.fullmatch(target) or target.endswith(_FILES):
        return None
    for finder in entry_points(group="llm2llm.runs"):  # of a package that may import a client of Kubernetes
        try:
            document: Mapping[str, Any] = finder.load()(target)
        except ModuleNotFoundError:
            continue
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{target} is no file and no folder here, and as the name of a run: {error.message}"
            ) from error
        return document
    return None


def _run_of(file: Path, document: Mapping[str, Any], endpoint: str, environ: Mapping[str, str]) -> NamedRun:
    """Returns the run of an object with its status, as the API server has it."""
    status, artifacts = _part(file, document, "status"), _part(file, document, "spec", "artifacts")
    metadata, _ = _part(file, document, "metadata"), _part(file, document, "status", "best")
    uri = status.get("artifactsUri")
    if uri and not isinstance(uri, str):
        raise ConfigurationError(f"{file}: status.artifactsUri must be a string")
    if not uri:
        raise ConfigurationError(
            f"{file}: the run has no status.artifactsUri: print it with `kubectl get arun -o yaml`"
        )
    fields = {name: artifacts[name] for name in ("endpoint", "region", "pathStyle") if artifacts.get(name) is not None}
    try:
        access = S3Access.model_validate(fields | ({"endpoint": endpoint} if endpoint else {}))
    except ValidationError as error:
        raise ConfigurationError(f"{file}: spec.artifacts.{_first(error)}") from error
    return NamedRun(str(metadata.get("name")), open_store(uri, access, environ), str(file), document)


def _part(file: Path, document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Returns a part of an object; empty if it has none.

    Raises:
        ConfigurationError: something on the way to it is no mapping.
    """
    part: Any = document
    for depth, name in enumerate(path, 1):
        part = part.get(name) or {}
        if not isinstance(part, dict):
            raise ConfigurationError(f"{file}: {'.'.join(path[:depth])} must be a mapping")
    found: Mapping[str, Any] = part
    return found


def _with_record(run: NamedRun) -> NamedRun:
    """Returns the run with what a local run left at its root, if it did."""
    try:
        return replace(run, record=RunRecord.model_validate_json(run.store.read(RECORD)))
    except ObjectMissing:
        return run
    except ValidationError as error:
        return replace(run, problem=_first(error))


def _first(error: ValidationError) -> str:
    """Returns the first problem of a document with its place, and without what was written there: it may be a key."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])

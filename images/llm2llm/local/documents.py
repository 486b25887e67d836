"""Reads files and folders as kubectl does, and applies the changes of the command line.

`read_documents` collects the runs, Secrets and ConfigMaps, `set_fields` and `add_secrets` apply `--set` and `--secret`,
and `validate_run` checks the run.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llm2llm.api import run as api
from llm2llm.errors import InvalidManifest
from llm2llm.local.kubectlyaml import load, load_all
from llm2llm.local.problems import validate_spec

_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class LocalRun:
    """One AugmentationRun, validated."""

    name: str
    namespace: str
    spec: api.AugmentationRunSpec


@dataclass(frozen=True)
class Documents:
    """The documents that were read: runs as written (file, document), and Secrets and ConfigMaps by name."""

    runs: Sequence[tuple[Path, Mapping[str, Any]]]
    secrets: Mapping[str, Mapping[str, str]]
    config_maps: Mapping[str, Mapping[str, bytes]]

    def the_run(self) -> Mapping[str, Any]:
        """Returns the only AugmentationRun.

        Raises:
            InvalidManifest: there are several.
        """
        if len(self.runs) > 1:
            files = ", ".join(str(file) for file, _ in self.runs)
            raise InvalidManifest([f"found {len(self.runs)} AugmentationRuns ({files}): pass a file with only one"])
        return self.runs[0][1]


@dataclass
class _Collected:
    runs: list[tuple[Path, Mapping[str, Any]]] = field(default_factory=list)
    secrets: dict[str, Mapping[str, str]] = field(default_factory=dict)
    config_maps: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_documents(paths: Iterable[Path]) -> Documents:
    """Reads all documents in these files, and in the files directly in these folders; ignores other kinds.

    Raises:
        InvalidManifest: a file cannot be read or is not YAML, or none has an AugmentationRun.
    """
    collected = _Collected()
    for file in _files(paths, collected.problems):
        try:
            documents = list(load_all(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            collected.problems.append(f"{file}: {' '.join(str(error).split())}")
            continue
        for document in _flatten(documents):
            _collect(file, document, collected)
    if not collected.runs and not collected.problems:
        collected.problems.append(f"found no document of kind {api.KIND} in {', '.join(map(str, paths))}")
    if collected.problems:
        raise InvalidManifest(collected.problems)
    return Documents(collected.runs, collected.secrets, collected.config_maps)


def validate_run(document: Mapping[str, Any]) -> LocalRun:
    """Validates a document and returns its run.

    Raises:
        InvalidManifest: with all its problems.
    """
    spec = validate_spec(document)
    metadata = document["metadata"]
    return LocalRun(metadata["name"], str(metadata.get("namespace") or "default"), spec)


def set_fields(document: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Returns a copy of the document with each `path=value` set, e.g. `spec.maxIterations=2`.

    A value is read as YAML, except that a decimal stays a string, and so does what replaces a string: fractions and
    money are strings in this API.

    Raises:
        InvalidManifest: a setting has no `=`, or its path leads through something that is not a mapping.
    """
    changed = copy.deepcopy(dict(document))
    problems = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        *parents, last = path.split(".")
        target: Any = changed
        for parent in parents:
            target = target.setdefault(parent, {}) if isinstance(target, dict) else None
        if not equals or not last or not isinstance(target, dict):
            problems.append(
                f"--set {setting}: must be path=value, e.g. spec.maxIterations=2, where every parent in the path is a "
                "mapping"
            )
        else:
            target[last] = _value(text, target.get(last))
    if problems:
        raise InvalidManifest(problems)
    return changed


def add_secrets(
    secrets: Mapping[str, Mapping[str, str]], settings: Sequence[str], environ: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Returns the Secrets with each `name/key=ENVVAR` added.

    Raises:
        InvalidManifest: a setting has another form, or its variable is not set.
    """
    added = {name: dict(values) for name, values in secrets.items()}
    problems = []
    for setting in settings:
        address, _, variable = setting.partition("=")
        name, _, key = address.partition("/")
        if not (name and key and variable):
            problems.append(f"--secret {setting}: must be name/key=ENVVAR")
        elif variable not in environ:
            problems.append(f"--secret {setting}: environment variable {variable} is not set")
        else:
            added.setdefault(name, {})[key] = environ[variable]
    if problems:
        raise InvalidManifest(problems)
    return added


def _files(paths: Iterable[Path], problems: list[str]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        elif path.exists():
            yield path
        else:
            problems.append(f"{path}: no such file or folder")


def _flatten(documents: Iterable[Any]) -> Iterator[Any]:
    """Yields the documents, with a List replaced by its items and empty documents left out."""
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from document.get("items") or []
        elif document is not None:
            yield document


def _collect(file: Path, document: Any, collected: _Collected) -> None:
    if not isinstance(document, dict) or "kind" not in document:
        collected.problems.append(f"{file}: a document has no kind")
    elif document["kind"] == api.KIND:
        collected.runs.append((file, document))
    elif document["kind"] == "Secret":
        try:
            collected.secrets[document["metadata"]["name"]] = _secret(document)
        except (KeyError, TypeError, AttributeError, binascii.Error, UnicodeDecodeError):
            collected.problems.append(f"{file}: a Secret has no metadata.name, or its data is not base64-encoded text")
    elif document["kind"] == "ConfigMap":
        try:
            collected.config_maps[document["metadata"]["name"]] = _config_map(document)
        except (KeyError, TypeError, AttributeError, binascii.Error, UnicodeEncodeError):
            collected.problems.append(
                f"{file}: a ConfigMap has no metadata.name, or its binaryData is not base64-encoded"
            )


def _secret(document: Mapping[str, Any]) -> dict[str, str]:
    decoded = {
        key: base64.b64decode(text, validate=True).decode() for key, text in (document.get("data") or {}).items()
    }
    return decoded | {key: str(text) for key, text in (document.get("stringData") or {}).items()}


def _config_map(document: Mapping[str, Any]) -> dict[str, bytes]:
    binary = {key: base64.b64decode(text, validate=True) for key, text in (document.get("binaryData") or {}).items()}
    return binary | {key: str(text).encode() for key, text in (document.get("data") or {}).items()}


def _value(text: str, before: Any) -> Any:
    if isinstance(before, str):
        return text
    try:
        value = load(text)
    except yaml.YAMLError:
        return text
    return text if value is None or isinstance(value, float) else value

"""Reads files and folders as kubectl does, and applies the changes of the command line.

`read_documents` collects the runs, Secrets and ConfigMaps, `set_fields` applies `--set`, and `validate_run` checks the
run.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llm2llm.api import run as api
from llm2llm.errors import InvalidManifest
from llm2llm.manifests.checks import local_problems
from llm2llm.manifests.kubectlyaml import SIZE_LIMIT, load, load_all
from llm2llm.manifests.problems import validate_spec
from llm2llm.manifests.yamlerrors import describe_yaml_error
from llm2llm.suggestion import did_you_mean

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_NAME_LIMIT = 253
"""How Kubernetes names objects (RFC 1123), and the keys of Secrets and ConfigMaps."""
_VALUES = {"Secret": ("data", "stringData"), "ConfigMap": ("binaryData", "data")}
"""Where an object has its values: in base64, and as they are. Of two with the same key the latter counts."""
_DATA_LIMIT = 1024 * 1024
"""Bytes of all values of a Secret or of a ConfigMap (MaxSecretSize of Kubernetes)."""
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
    other_kinds: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def read_documents(paths: Iterable[Path]) -> Documents:
    """Reads all documents in these files, and in the files directly in these folders; ignores other kinds.

    Raises:
        InvalidManifest: a file cannot be read or is not YAML, or none has an AugmentationRun.
    """
    collected = _Collected()
    for file in _files(paths, collected.problems):
        try:
            with file.open(encoding="utf-8") as stream:
                documents = list(load_all(stream.read(SIZE_LIMIT + 1)))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            collected.problems.append(f"{file}{describe_yaml_error(error)}")
            continue
        for document in _flatten(documents):
            _collect(file, document, collected)
    if not collected.runs and not collected.problems:
        places = ", ".join(map(str, paths))
        kinds = ", ".join(sorted(collected.other_kinds))
        meant = next((hint for kind in collected.other_kinds if (hint := did_you_mean(kind, [api.KIND]))), "")
        found = f", only {kinds}" if kinds else ""
        collected.problems.append(f"{places}: found no document of kind {api.KIND}{found}{meant}")
    if collected.problems:
        raise InvalidManifest(collected.problems)
    return Documents(collected.runs, collected.secrets, collected.config_maps)


def validate_run(document: Mapping[str, Any]) -> LocalRun:
    """Validates a document and returns its run.

    Raises:
        InvalidManifest: with all its problems.
    """
    spec = validate_spec(document)
    problems = list(local_problems(spec))
    if problems:
        raise InvalidManifest(problems)
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
                f"--set {path}: must be path=value, e.g. spec.maxIterations=2, where every parent in the path is a "
                "mapping"
            )
        else:
            target[last] = _value(text, target.get(last))
    if problems:
        raise InvalidManifest(problems)
    return changed


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
            items = document.get("items")
            yield from items if isinstance(items, list) else []
        elif document is not None:
            yield document


def _collect(file: Path, document: Any, collected: _Collected) -> None:
    if not isinstance(document, dict) or "kind" not in document:
        collected.problems.append(f"{file}: a document has no kind")
    elif document["kind"] == api.KIND:
        collected.runs.append((file, document))
    elif document["kind"] in _VALUES:
        _collect_values(file, document, collected)
    else:
        collected.other_kinds.add(str(document["kind"])[:_NAME_LIMIT])


def _collect_values(file: Path, document: Mapping[str, Any], collected: _Collected) -> None:
    """Collects the values of a Secret or ConfigMap. Those that are no text stay as they are: not every key is used."""
    kind, metadata = document["kind"], document.get("metadata")
    name: Any = metadata.get("name") if isinstance(metadata, dict) else None
    values: dict[str, bytes] = {}
    problems = [] if name is not None else [f"a {kind} has no metadata.name"]
    encoded, plain = _VALUES[kind]
    for part, read, defect in (
        (encoded, _decoded, "is not base64-encoded"),
        (plain, _plain, "is not a string: put it in quotes"),
    ):
        entries = document.get(part) or {}
        if not isinstance(entries, dict):
            problems.append(f"{part} of {kind} {name} must be a mapping")
            continue
        for key, value in entries.items():
            try:
                values[key] = read(value)
            except (TypeError, ValueError):
                problems.append(f"{part}.{key} of {kind} {name} {defect}")
    problems += _name_problems(kind, name, values) if not problems else []
    size = sum(map(len, values.values()))
    if size > _DATA_LIMIT:
        problems.append(
            f"{kind} {name} has {size:,} bytes, and the API server takes {_DATA_LIMIT:,}: keep large rows in a file or "
            "a bucket"
        )
    collected.problems += [f"{file}: {problem}" for problem in problems]
    if problems:
        return
    if kind == "Secret":
        collected.secrets[name] = {key: value.decode(errors="surrogateescape") for key, value in values.items()}
    else:
        collected.config_maps[name] = values


def _name_problems(kind: str, name: Any, keys: Iterable[str]) -> Iterator[str]:
    """Yields names that the API server refuses; a ConfigMap's become the names of a folder and of its files."""
    if not isinstance(name, str) or len(name) > _NAME_LIMIT or not _OBJECT_NAME.fullmatch(name):
        yield f"metadata.name {name!r} of a {kind} must have only a-z, 0-9, - and ."
    for key in keys:
        if len(key) > _NAME_LIMIT or not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            yield f"key {key!r} of {kind} {name} may have only letters, digits, -, _ and ., not first .."


def _decoded(text: Any) -> bytes:
    """Decodes base64, also of several lines, as `base64` writes it."""
    return base64.b64decode(re.sub(rb"[\r\n]", b"", _plain(text)), validate=True)


def _plain(text: Any) -> bytes:
    """Returns a text. The API server refuses anything else, too: it would be another text than its author wrote.

    Raises:
        TypeError: it is a number, a boolean, or a structure.
    """
    if text is None:
        return b""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text.encode()


def _value(text: str, before: Any) -> Any:
    if isinstance(before, str):
        return text
    try:
        value = load(text)
    except yaml.YAMLError:
        return text
    return text if value is None or isinstance(value, float) else value

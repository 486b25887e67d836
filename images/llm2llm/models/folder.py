"""Checks what the files of a model's folder name, and where its links lead: a model is somebody else's data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm2llm.errors import ConfigurationError
from llm2llm.paths import join, relative_path

_ELSEWHERE = "--"
"""Separates a repository from its module in an `auto_map` of transformers: `owner/name--module.Class`."""


def check_folder(folder: Path, field: str, *, trusted: bool = False, within: Path | None = None) -> None:
    """Checks a fetched model before any library reads it.

    Args:
        folder: the model's.
        field: the field of the spec that names it, for messages.
        trusted: whether its Python files will be run (`spec.student.trustRemoteCode`).
        within: the volume that it is on, which none of its links may leave; None where links are the user's own, or
            the Hub's cache, whose snapshots consist of them.

    Raises:
        ConfigurationError: an index names a file outside the folder, a link leaves the volume, or trusted code would
            come from another repository, which no revision pins.
    """
    for path in _files(folder) if within else ():
        try:
            join(folder, path.relative_to(folder).as_posix(), within=within)
        except ValueError as error:
            raise ConfigurationError(f"{field}: {error}: copy the file into the volume") from error
    for path in sorted(folder.glob("*.json")):
        document = _document(path, field)
        if path.name.endswith(".index.json"):
            _check_index(path.name, document, field)
        elif trusted:
            _check_code(path.name, document, field)


def _check_index(name: str, index: dict[str, Any], field: str) -> None:
    weight_map = index.get("weight_map")
    for shard in sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else ():
        try:
            relative_path(shard)
        except ValueError as error:
            raise ConfigurationError(f"{field}: {name}: {error}") from error


def _check_code(name: str, config: dict[str, Any], field: str) -> None:
    for reference in _code_references(config):
        repository, separator, _ = reference.partition(_ELSEWHERE)
        if separator:
            raise ConfigurationError(
                f"{field}: {name} takes its code from {repository} ({reference}), which {field}.revision does not pin: "
                f"copy its Python files into the model's folder, and remove '{repository}--' from auto_map there"
            )


def _code_references(value: Any) -> Iterator[str]:
    """Yields the classes that the `auto_map`s of a config name, those of its parts included."""
    for name, entry in (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    ):
        yield from _texts(entry) if name == "auto_map" else _code_references(entry)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(entry)


def read_json(path: Path, field: str) -> dict[str, Any]:
    """Returns the object in one of a model's files.

    Args:
        path: the file's.
        field: the field of the spec that names the model, for messages.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{field}: {path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{field}: {path.name} is not a JSON object")
    return content


def _document(path: Path, field: str) -> dict[str, Any]:
    """Does the same, but returns an empty object where there is none, which is told by whoever needs it."""
    try:
        return read_json(path, field)
    except ConfigurationError:
        return {}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]

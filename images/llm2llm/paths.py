"""Checks names that come from outside before they become paths.

A manifest, a checkpoint's marker, a bucket's listing, a model's index and a ConfigMap name files, and whoever writes
them could name one outside the folder that is meant: by `..`, by an absolute path, or by a symbolic link. So each name
is parsed where it comes in (`RelativePath`), and becomes a path by `join` alone, which looks at where the links lead.
Between that look and the use somebody could still exchange a link: who writes to the same folder at the same moment is
trusted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def relative_path(name: str) -> str:
    """Returns a name that is a relative, normalized path with `/` between its parts.

    Raises:
        ValueError: it is empty or absolute, or has a part that is empty, `.` or `..`, or a control character.
    """
    if _CONTROL.search(name):
        raise ValueError(f"{name!r} is not a name of a file here: it has a control character")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"{name!r} is not a name of a file here: expected a relative path without '.', '..' or '//'")
    return name


RelativePath = Annotated[str, AfterValidator(relative_path)]


def is_relative_path(name: str) -> bool:
    """Returns whether `relative_path` accepts a name."""
    try:
        relative_path(name)
    except ValueError:
        return False
    return True


def join(folder: Path, name: str, *, within: Path | None = None) -> Path:
    """Returns the path of a file below a folder.

    Args:
        folder: may be reached through links itself.
        name: see relative_path.
        within: a folder that symbolic links may not leave, `folder` by default.

    Raises:
        ValueError: the name is none, or a symbolic link leads out of `within`.
    """
    path = folder / relative_path(name)
    boundary = (within or folder).resolve()
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ValueError(f"{name!r} cannot be resolved below {folder}: {error}") from error
    if not target.is_relative_to(boundary):
        raise ValueError(f"{name!r} leads out of {boundary} through a symbolic link, to {target}")
    return path

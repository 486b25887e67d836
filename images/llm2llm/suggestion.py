"""PURE: guesses which of the known names was meant by one that is none of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(given: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is most like the given one, ignoring case, blanks, - and _; None if none is."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(_plain(name), name)
    close = difflib.get_close_matches(_plain(given), names, n=1)
    return names[close[0]] if close else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Returns the same as the end of a sentence; '' if no known name is like the given one."""
    name = closest(given, known)
    return f": did you mean {name!r}?" if name is not None else ""


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())

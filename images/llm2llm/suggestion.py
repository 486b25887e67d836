"""PURE: guesses which of the known names was meant by one that is none of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache

_LIKENESS = 0.6
"""Share of equal letters from which on a name may be another one (difflib's default)."""
_LONGEST = 1000
"""Maximum characters of a text that may be a name."""


def closest(given: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is most like the given one, ignoring case, blanks, - and _; None if none is.

    Of 100,000 rows each may ask the same, so answers are kept.
    """
    return _closest(given, tuple(known)) if len(given) <= _LONGEST else None


@lru_cache(maxsize=1024)
def _closest(given: str, known: tuple[str, ...]) -> str | None:
    names, wanted = _by_plain(known), _plain(given)
    # of texts that differ much in length none is like the other: comparing them would take its time
    alike = [name for name in names if 2 * min(len(name), len(wanted)) >= _LIKENESS * (len(name) + len(wanted))]
    close = difflib.get_close_matches(wanted, alike, n=1, cutoff=_LIKENESS)
    return names[close[0]] if close else None


@lru_cache(maxsize=32)
def _by_plain(known: tuple[str, ...]) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(_plain(name), name)
    return names


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Returns the same as the end of a sentence; '' if no known name is like the given one."""
    name = closest(given, known)
    return f": did you mean {name!r}?" if name is not None else ""


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())

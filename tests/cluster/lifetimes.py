"""Ends what a fixture of a whole session has started before the session does, once no test needs it any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_kept: dict[str, contextlib.ExitStack] = {}
"""What runs, by the name of its fixture."""


@contextlib.contextmanager
def keep(fixture: str) -> Iterator[contextlib.ExitStack]:
    """Gives a stack for what a fixture starts, which ends with the fixture or when it is let go."""
    with contextlib.ExitStack() as stack:
        _kept[fixture] = stack
        yield stack


def let_go(fixture: str) -> None:
    """Ends what a fixture has started, if it has started anything."""
    if stack := _kept.pop(fixture, None):
        stack.close()

"""Logs of processes that still write: one JSON object a line, of which the last may not be whole yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_json_lines(log: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the objects of a log from this byte on, in order; a line without its end is left for the next read."""
    with log.open("rb") as file:
        file.seek(start)
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)

"""When the API server collected its garbage, and whether what was slow was slow then.

The Go runtime tells each collection where GODEBUG holds gctrace=1 (https://pkg.go.dev/runtime, "Environment Variables"):
`gc 18 @30.113s 1%: 0.10+250+0.02 ms clock, ..., 1200->1250->620 MB, ...`: seconds since the process began, then
milliseconds of the pause before marking, of marking beside the program, and of the pause after it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.processes import Child

TRACE = "gctrace=1"
Span = tuple[float, float]
"""Begin and end, in seconds of Unix time."""
_LINE = re.compile(r"^gc \d+ @([\d.]+)s \d+%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock", re.MULTILINE)


def collections(child: Child) -> list[Span]:
    """The collections of a process that runs with `TRACE`, from its log."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    began = time.time() - uptime + child.started / os.sysconf("SC_CLK_TCK")
    spans = []
    for at, *parts in _LINE.findall(child.log.read_text(errors="replace")):
        begin = began + float(at)
        spans.append((begin, begin + sum(map(float, parts)) / 1000))
    return spans


def within(spans: Sequence[Span], whole: Span) -> float:
    """Which share of a time the spans, which do not overlap, take."""
    covered = sum(max(0.0, min(end, whole[1]) - max(begin, whole[0])) for begin, end in spans)
    return covered / (whole[1] - whole[0])


def beside(windows: Iterable[Span], spans: Sequence[Span]) -> tuple[int, int]:
    """How many of some windows overlap a span, and how many windows there are."""
    found = [any(begin < until and end > since for begin, end in spans) for since, until in windows]
    return sum(found), len(found)

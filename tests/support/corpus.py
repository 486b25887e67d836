"""The manifests in tests/data/manifests, and what each side has to say about the invalid ones.

A new case is a new file. One that is invalid begins with what has to be told: `# api: ...` by the API server and
`# local: ...` by `llm2llm validate`, or `# expect: ...` where the words are the same; `# cluster: ...` is what the API
server says of a manifest that is right on a laptop. A comment in a valid one says what it is there for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "data" / "manifests"
EXAMPLES = FOLDER.parents[2] / "examples"


@dataclass(frozen=True)
class Invalid:
    """A manifest that nobody may take, and a part of each side's message; `local` is empty if a laptop takes it."""

    file: Path
    api: str
    local: str


def valid() -> list[Path]:
    """The manifests that both sides take; what is shown to users is among them."""
    return sorted((*(FOLDER / "valid").glob("*.yaml"), *EXAMPLES.glob("*.yaml")))


def invalid() -> list[Invalid]:
    """The manifests that both sides refuse.

    Raises:
        ValueError: a file does not say what is expected of a side.
    """
    return [_invalid(file) for file in sorted((FOLDER / "invalid").glob("*.yaml"))]


def _invalid(file: Path) -> Invalid:
    told = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        side, colon, words = line.removeprefix("# ").partition(": ")
        if not line.startswith("# ") or not colon:
            break
        told[side] = words
    both, of_a_cluster = told.get("expect", ""), told.get("cluster", "")
    api, local = told.get("api", both) or of_a_cluster, told.get("local", both)
    if not api or bool(local) == bool(of_a_cluster):
        raise ValueError(f"{file}: begin with `# api: ...` and `# local: ...`, `# expect: ...`, or `# cluster: ...`")
    return Invalid(file, api, local)

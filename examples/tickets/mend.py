"""Mends what `llm2llm init` found in the tickets: `python mend.py tickets.rows.csv tickets.clean.csv`.

Tickets without an answer are left out, and misspelled queues are corrected. A decision like that is yours and not the
tool's: in your own file, look at each first.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

CORRECT = {"delivry": "delivery", "retuns": "returns", "biling": "billing", "techincal": "technical"}


def mend(source: Path, target: Path) -> str:
    """Writes the mended rows, and returns in words what was done."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if row["queue"].strip()]
    corrected = 0
    for row in kept:
        if (queue := row["queue"].strip()) in CORRECT:
            row["queue"] = CORRECT[queue]
            corrected += 1
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    return (
        f"{target}: {len(kept)} rows, {corrected} queues corrected, {len(rows) - len(kept)} rows without one left out"
    )


if __name__ == "__main__":
    print(mend(Path(sys.argv[1]), Path(sys.argv[2])))

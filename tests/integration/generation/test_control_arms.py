"""Arms to compare with: rows that no mistake asked for, and rounds of a fixed size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.integration.generation import rounds

from llm2llm.step import run_step

MISTAKES = 10


def seeds_asked_for(folder: Path, **changes: Any) -> Counter[str]:
    """How many rows were written for each seed example."""
    with rounds.Teacher() as teacher:
        spec = rounds.spec_for(teacher)
        spec["generate"] |= changes
        store, step = rounds.prepared(folder, spec, MISTAKES)
        run_step(step, store, rounds.context_for("pod-a", folder))
    return Counter(row["lineage"]["seed"] for row in rounds.rows(store, "synthetic.jsonl"))


@pytest.mark.parametrize(
    ("changes", "rows", "seeds"),
    [
        pytest.param({"rowsPerRound": 25}, 25, 10, id="a fixed size, shared among the mistakes"),
        pytest.param({"rowsPerRound": 4}, 4, 4, id="a fixed size below the number of mistakes"),
        pytest.param({"strategy": "Untargeted", "rowsPerRound": 30}, 30, 30, id="untargeted of a fixed size"),
        pytest.param({"strategy": "Untargeted"}, 30, 30, id="untargeted, as many rows as targeted would have"),
    ],
)
def test_a_round_writes_what_the_arm_asks_for(tmp_path: Path, changes: dict[str, Any], rows: int, seeds: int):
    asked = seeds_asked_for(tmp_path, **changes)
    assert asked.total() == rows
    assert len(asked) == seeds
    assert max(asked.values()) - min(asked.values()) <= 1

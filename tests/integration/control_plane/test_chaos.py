"""Kills, cut watches, 410, 429, 5xx and lost answers all at once, for many runs beside each other: all end as in calm.

`python -m tests.support.chaos --runs 60 --seconds 90` is the long form. A seed is printed; `LLM2LLM_CHAOS_SEED` repeats it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.cluster.controlplane import Cluster
from tests.support import chaos

RUNS, SECONDS = 20, 25.0


@pytest.mark.turns("storms")
def test_runs_that_a_storm_passed_over_end_as_calm_ones_do(api: Cluster, tmp_path: Path) -> None:
    seed = int(os.environ.get("LLM2LLM_CHAOS_SEED") or random.randrange(10**6))
    print(f"\nLLM2LLM_CHAOS_SEED={seed}")
    outcome = chaos.play(api, tmp_path, runs=RUNS, seconds=SECONDS, seed=seed)
    print(outcome.table())
    assert outcome.problems() == []

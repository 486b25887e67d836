"""The operator dies, or loses an answer, at every single write of a run: the run ends as if nothing had happened.

By default every tenth case is played, with a random offset that is printed (`LLM2LLM_SWEEP_SEED` repeats one).
`LLM2LLM_SWEEP=full` plays all of them. With `-s` pytest shows the table; without it only where something failed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

from tests.cluster.controlplane import Cluster
from tests.support.apiproxy import Fault
from tests.support.podender import PodEnder
from tests.support.sweep import Case, Result, Workers

SHORT = 10
"""The short form plays one case in so many: coprime to the three faults, so that each of them comes up."""
WORKERS = 5


def test_fault_01_02_03_07_an_operator_that_dies_or_loses_an_answer_at_any_write_changes_nothing(
    api: Cluster, tmp_path: Path
) -> None:
    began = time.monotonic()
    with PodEnder(api, seconds=0.3), Workers(api, tmp_path, WORKERS) as workers:
        [calm] = workers.play([Case(0, Fault.ANSWER_LOST)])
        cases = [Case(nth, fault) for nth in range(1, len(calm.writes) + 1) for fault in Fault]
        chosen = chosen_of(cases)
        results = workers.play(chosen)
    print(table(calm, results, len(cases), time.monotonic() - began))
    assert calm.status["phase"] == "Succeeded"
    assert set(calm.created.values()) == {1}
    assert len(results) == len(chosen)
    assert [str(result.case) for result in results if not result.struck] == []
    assert {str(r.case): r.created for r in results if r.created != calm.created} == {}
    assert {str(r.case): r.jobs for r in results if r.jobs != calm.jobs} == {}
    assert {str(r.case): r.status for r in results if r.status != calm.status} == {}


def chosen_of(cases: list[Case]) -> list[Case]:
    """All cases, or every tenth from a random one on."""
    if os.environ.get("LLM2LLM_SWEEP") == "full":
        return cases
    seed = int(os.environ.get("LLM2LLM_SWEEP_SEED") or random.randrange(10**6))
    print(f"\nLLM2LLM_SWEEP_SEED={seed}")
    return cases[seed % SHORT :: SHORT]


def table(calm: Result, results: list[Result], cases: int, seconds: float) -> str:
    """What was played and how it ended, one line a fault."""
    lines = [f"\ncrash sweep: {len(results)} of {cases} cases ({len(calm.writes)} writes) in {seconds:.0f} s"]
    lines.append(f"{'fault':16} {'cases':>5} {'same status':>11} {'Jobs twice':>10} {'slowest':>8}")
    for fault in Fault:
        mine = [result for result in results if result.case.fault is fault]
        same = sum(result.status == calm.status and result.jobs == calm.jobs for result in mine)
        twice = sum(times > 1 for result in mine for times in result.created.values())
        slowest = max((result.seconds for result in mine), default=0.0)
        lines.append(f"{fault:16} {len(mine):5} {same:11} {twice:10} {slowest:6.1f} s")
    struck = Counter(f"{w.verb} {w.resource}" for r in results for w in r.writes[r.case.nth - 1 : r.case.nth])
    lines.append("struck at: " + ", ".join(f"{what} {times}" for what, times in sorted(struck.items())))
    return "\n".join(lines)

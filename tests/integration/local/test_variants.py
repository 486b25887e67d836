"""`llm2llm run` of a run that probes, judged by macro-F1: what a person sees, now and after it went on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.local.workplace import Workplace, digests, run
from tests.support.teacher import Teacher

PROBING = ["--set", "spec.errorsFrom=Probe", "--set", "spec.objective.metric=macroF1"]


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher() as server:
        yield server


def test_a_probing_run_closes_and_goes_on_where_it_was(workplace: Workplace, teacher: Teacher, tmp_path: Path) -> None:
    first = run([*workplace.command(tmp_path, teacher), *PROBING, "--set", "spec.maxIterations=1"])
    assert first.returncode == 0, first.stderr
    assert "best: closing iteration (after 1), macroF1 " in first.stdout
    assert "test set, closing iteration (after 1): macroF1 " in first.stdout
    assert "iteration closing (after 1), train rows 80, macroF1 " in first.stdout
    before = digests(tmp_path)
    more = run([*workplace.command(tmp_path, teacher), *PROBING, "--set", "spec.maxIterations=2"])
    assert more.returncode == 0, more.stderr
    assert "best: closing iteration (after 2), macroF1 " in more.stdout
    assert before.items() <= digests(tmp_path).items()
    shown = run(["report", str(tmp_path)], COLUMNS="140")
    assert "macroF1" in shown.stdout
    assert shown.stdout.count("│ closing") == 2
    report = next(line for line in more.stdout.splitlines() if line.startswith("report: ")).removeprefix(
        "report: file://"
    )
    assert 'closing (after 2) <span class="badge">best</span>' in Path(report).read_text()


def test_a_spent_teacher_budget_closes_a_probing_run(workplace: Workplace, teacher: Teacher, tmp_path: Path) -> None:
    budget = ["--set", "spec.budget.maxTeacherTokens=500", "--set", "spec.budget.onExceeded=Complete"]
    done = run([*workplace.command(tmp_path, teacher), *PROBING, *budget])
    assert done.returncode == 0, done.stderr
    assert "BudgetExceeded: " in done.stdout
    assert "best: closing iteration (after 1), macroF1 " in done.stdout
    assert "test set, closing iteration (after 1): macroF1 " in done.stdout

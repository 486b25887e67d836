"""The budget of a run, as the generation step keeps it (fault 37)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.generation import rounds
from tests.integration.generation.test_second_round import second

from llm2llm.api.policy import Budget
from llm2llm.errors import BudgetReached, Terminated
from llm2llm.runtime.context import Step
from llm2llm.step import run_step
from llm2llm.teacher import requests

CONCURRENCY = 4
MISTAKES = 20
ROWS = 3 * MISTAKES


def with_budget(step: Step, tokens: int) -> Step:
    return replace(step, spec=step.spec.model_copy(update={"budget": Budget(max_teacher_tokens=tokens)}))


def test_fault_37_no_request_beyond_the_budget_and_a_top_up_pays_for_nothing_twice(tmp_path: Path):
    with rounds.Teacher() as teacher:
        spec = rounds.spec_for(teacher, concurrency=CONCURRENCY)
        store, step = rounds.prepared(tmp_path / "whole", spec, MISTAKES)
        whole = run_step(step, store, rounds.context_for("pod-a", tmp_path))
    needed = whole.usage.teacher_input_tokens + whole.usage.teacher_output_tokens

    with rounds.Teacher() as teacher:
        spec = rounds.spec_for(teacher, concurrency=CONCURRENCY) | {"budget": {"maxTeacherTokens": needed // 2}}
        store, step = rounds.prepared(tmp_path / "limited", spec, MISTAKES)
        context = rounds.context_for("pod-a", tmp_path)
        with pytest.raises(BudgetReached, match=f"spec.budget.maxTeacherTokens is {needed // 2}"):
            run_step(step, store, context)
        spent = context.usage.teacher_input_tokens + context.usage.teacher_output_tokens
        asked = teacher.stats()["requests"]
        assert 0.5 * needed // 2 < spent <= needed // 2
        assert 0 < asked < ROWS
        assert not list(store.list("iterations/000/generate/manifest.json"))

        with pytest.raises(BudgetReached):  # again, without a change: nothing is asked
            run_step(step, store, rounds.context_for("pod-b", tmp_path))
        assert teacher.stats()["requests"] == asked

        more = with_budget(step, 2 * needed)
        report = run_step(more, store, rounds.context_for("pod-c", tmp_path))
        assert teacher.stats()["repeated"] == 0
        assert report.usage == whole.usage
    assert rounds.rows(store, "synthetic.jsonl") == rounds.rows(
        rounds.LocalStore(tmp_path / "whole"), "synthetic.jsonl"
    )


def test_a_later_round_has_what_the_rounds_before_left_of_the_budget(tmp_path: Path):
    with rounds.Teacher() as teacher:
        spec = rounds.spec_for(teacher, concurrency=CONCURRENCY)
        store, first = rounds.prepared(tmp_path, spec, MISTAKES)
        used = run_step(first, store, rounds.context_for("pod-a", tmp_path)).usage
        needed = used.teacher_input_tokens + used.teacher_output_tokens
        step = second(store, first, rounds.seed_rows()[: 3 * MISTAKES : 3])
        step = with_budget(step, needed + 1)
        with pytest.raises(BudgetReached, match=f"spec.budget.maxTeacherTokens is {needed + 1}"):
            run_step(step, store, rounds.context_for("pod-b", tmp_path))
        assert teacher.stats()["requests"] == ROWS


def test_the_gpu_time_of_the_run_leaves_the_teacher_less_of_the_money(tmp_path: Path):
    with rounds.Teacher() as teacher:
        prices = {"inputPerMillion": "1", "outputPerMillion": "1", "gpuHour": "2"}
        spec = rounds.spec_for(teacher) | {"budget": {"maxCost": "2", "prices": prices}}
        store, step = rounds.prepared(tmp_path, spec, MISTAKES)
        trained = replace(step, gpu_seconds=3600)
        with pytest.raises(BudgetReached, match=r"2\.0000 has been spent; spec\.budget\.maxCost is 2"):
            run_step(trained, store, rounds.context_for("pod-a", tmp_path))
        assert teacher.stats()["requests"] == 0


def test_a_ceiling_of_requests_a_minute_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(requests, "WAIT_TOLD_SECONDS", 0.1)
    with rounds.Teacher() as teacher:
        spec = rounds.spec_for(teacher, concurrency=CONCURRENCY)
        spec["generate"]["limits"]["requestsPerMinute"] = 1
        store, step = rounds.prepared(tmp_path, spec, MISTAKES)
        context = rounds.context_for("pod-a", tmp_path)

        def stop_at_a_wait(event: Mapping[str, object]) -> None:
            if "because of the rate limits of the teacher" in str(event.get("message", "")):
                context.stopping.set()

        context.progress = stop_at_a_wait
        with pytest.raises(Terminated):
            run_step(step, store, context)
        assert teacher.stats()["requests"] == 1

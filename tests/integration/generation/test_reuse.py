"""`spec.reuseFrom`: what another run has paid for is not paid again (fault 49)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.generation import rounds

from llm2llm.api.generate import Filters
from llm2llm.errors import LowAcceptance
from llm2llm.records import Report
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.refilter import RefilteredRound, refilter_run
from llm2llm.step import run_step
from llm2llm.storage import Store

MISTAKES = 12


def again(
    folder: Path, first: Store, teacher: rounds.Teacher, threshold: str, floor: str = "0.2"
) -> tuple[Report, Store, StepContext]:
    """The same round in a new folder, with this threshold of the de-duplication."""
    spec = rounds.spec_for(teacher)
    spec["generate"]["filters"] = {"dedup": {"threshold": threshold}, "minAcceptance": floor}
    spec["reuseFrom"] = [{"uri": first.uri}]
    store, step = rounds.prepared(folder, spec, MISTAKES)
    context = rounds.context_for("pod-b", folder)
    return run_step(replace(step, run_uid="another"), store, context), store, context


def first_round(folder: Path, teacher: rounds.Teacher) -> tuple[Report, Store, Step]:
    store, step = rounds.prepared(folder, rounds.spec_for(teacher), MISTAKES)
    return run_step(step, store, rounds.context_for("pod-a", folder)), store, step


def test_fault_49_a_step_of_the_same_content_is_copied_and_costs_this_run_nothing(tmp_path: Path):
    with rounds.Teacher() as teacher:
        done, first, _ = first_round(tmp_path / "first", teacher)
        asked = teacher.stats()["requests"]
        report, store, _ = again(tmp_path / "second", first, teacher, "0.95")
        assert teacher.stats()["requests"] == asked
    assert (report.digest, report.kept, report.run_uid) == (done.digest, done.kept, "another")
    assert report.usage.teacher_requests == 0
    assert rounds.output(store, "synthetic.jsonl") == rounds.output(first, "synthetic.jsonl")


def refiltered(store: Store, step: Step, threshold: str, floor: str = "0.2") -> list[RefilteredRound]:
    """What `llm2llm refilter` says of each round."""
    filters = Filters.model_validate({"dedup": {"threshold": threshold}, "minAcceptance": floor})
    return list(refilter_run(step.spec, store, filters))


def would_keep(store: Store, step: Step, threshold: str) -> list[int]:
    return [each.would_keep for each in refiltered(store, step, threshold)]


def test_filtering_a_finished_round_anew_sends_nothing_for_it(tmp_path: Path):
    with rounds.Teacher() as teacher:
        done, first, step = first_round(tmp_path / "first", teacher)
        asked = teacher.stats()["requests"]
        report, store, _ = again(tmp_path / "second", first, teacher, "0.99")
        assert teacher.stats()["requests"] == asked
        assert report.usage.teacher_requests == 0
        assert report.kept >= done.kept
        assert would_keep(first, step, "0.99") == [report.kept]
        assert len(rounds.rows(store, "ledger.jsonl")) == asked
        # a third run finds in the second what the second took from the first
        last, _, _ = again(tmp_path / "third", store, teacher, "0.98")
        assert teacher.stats()["requests"] == asked
        assert last.kept == report.kept


def test_stricter_filters_keep_fewer_rows_of_a_finished_round_and_send_nothing_for_it(tmp_path: Path):
    with rounds.Teacher() as teacher:
        done, first, step = first_round(tmp_path / "first", teacher)
        asked = teacher.stats()["requests"]
        report, store, _ = again(tmp_path / "second", first, teacher, "0.3")
        assert teacher.stats()["requests"] == asked
    refused = rounds.rows(store, "rejected.jsonl")
    assert {row["reason"] for row in refused} == {"nearDuplicate"}
    assert (report.generated, report.kept) == (done.generated, done.kept - len(refused))
    assert would_keep(first, step, "0.3") == [report.kept]
    assert would_keep(first, step, "0.95") == [done.kept]
    assert report.usage.teacher_requests == 0
    assert report.message.endswith("another run finished this round, so only its answers were judged")


def test_filters_that_keep_too_little_of_a_finished_round_say_so_and_send_nothing(tmp_path: Path):
    with rounds.Teacher() as teacher:
        _, first, step = first_round(tmp_path / "first", teacher)
        asked = teacher.stats()["requests"]
        with pytest.raises(LowAcceptance, match=r"below spec.generate.filters.minAcceptance 0\.99"):
            again(tmp_path / "second", first, teacher, "0.3", "0.99")
        assert teacher.stats()["requests"] == asked
    assert [each.too_few for each in refiltered(first, step, "0.3", "0.99")] == [True]
    assert [each.too_few for each in refiltered(first, step, "0.3", "0")] == [False]


def test_rows_beyond_those_of_a_finished_round_are_asked_for(tmp_path: Path):
    with rounds.Teacher() as teacher:
        _, first, _ = first_round(tmp_path / "first", teacher)
        asked = teacher.stats()["requests"]
        spec = rounds.spec_for(teacher, samples=4)
        spec["reuseFrom"] = [{"uri": first.uri}]
        store, step = rounds.prepared(tmp_path / "second", spec, MISTAKES)
        assert run_step(step, store, rounds.context_for("pod-b", tmp_path)).kept == 4 * MISTAKES
        assert teacher.stats()["requests"] > asked


def test_answers_of_a_round_that_was_never_finished_are_replayed_too(tmp_path: Path):
    with rounds.Teacher() as teacher:
        _, first, _ = first_round(tmp_path / "first", teacher)
        asked = teacher.stats()["requests"]
        first.delete("iterations/000/generate/manifest.json")
        again(tmp_path / "second", first, teacher, "0.95")
        assert teacher.stats()["requests"] == asked


def round_with_a_refusal(folder: Path, teacher: rounds.Teacher) -> tuple[Report, Store]:
    """A round in which the endpoint has refused one request for no reason that it gave, after others were answered."""
    store, step = rounds.prepared(folder, rounds.spec_for(teacher, concurrency=1), MISTAKES)
    context, refuses = rounds.context_for("pod-a", folder), iter([True])

    def refuse_once(event: Mapping[str, object]) -> None:
        if "step" in event and next(refuses, False):
            teacher.fault(kind="unsupported-parameter", parameter="messages", count=1)

    context.progress = refuse_once
    return run_step(step, store, context), store


def test_a_finished_round_is_judged_anew_with_what_was_refused_in_it_and_sends_nothing(tmp_path: Path):
    with rounds.Teacher() as teacher:
        done, first = round_with_a_refusal(tmp_path / "first", teacher)
        assert [row["reason"] for row in rounds.rows(first, "rejected.jsonl")].count("refused") == 1
        asked = teacher.stats()["requests"]
        report, second, _ = again(tmp_path / "second", first, teacher, "0.99")
        assert teacher.stats()["requests"] == asked
    assert (report.generated, report.kept) == (done.generated, done.kept)
    assert [row["reason"] for row in rounds.rows(second, "rejected.jsonl")].count("refused") == 1


def test_a_row_that_was_refused_in_a_round_that_was_never_finished_is_asked_for(tmp_path: Path):
    with rounds.Teacher() as teacher:
        _, first = round_with_a_refusal(tmp_path / "first", teacher)
        first.delete("iterations/000/generate/manifest.json")
        report, store, _ = again(tmp_path / "second", first, teacher, "0.95")
    assert report.usage.teacher_requests == 1
    assert "refused" not in {row["reason"] for row in rounds.rows(store, "rejected.jsonl")}

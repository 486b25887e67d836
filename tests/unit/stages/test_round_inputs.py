"""What a round reads: the mistakes of its iteration, the rows to keep away from, and what was paid before it."""

from __future__ import annotations

from pathlib import Path

from tests.support.tworounds import Run

from llm2llm.records import Stage


def test_a_round_is_for_the_mistakes_of_its_iteration_the_seeds_first_and_never_for_held_out_rows(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    run.evaluated(2, synthetic=["a/2", "b/1"], seed=["c", "a"], evaluation=["e"])
    found = run.inputs(run.step(Stage.GENERATE, 2))

    assert [(mistake.example.id, mistake.output) for mistake in found.mistakes] == [
        ("a", "not a"), ("c", "not c"), ("b/1", "not b/1"), ("a/2", "not a/2"),
    ]  # fmt: skip
    assert [row.id for row in found.held_out] == ["e", "t"]
    assert [row.id for row in found.synthetic] == ["b/1", "a/1", "a/2"]
    assert {seed: [row.id for row in rows] for seed, rows in found.by_seed.items()} == {
        "a": ["a/1", "a/2"], "b": ["b/1"],
    }  # fmt: skip


def test_prepare_and_the_rounds_before_it_have_used_a_part_of_the_budget(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluated(2, seed=["a"])
    found = run.inputs(run.step(Stage.GENERATE, 2))

    assert (found.paid.teacher_requests, found.paid.teacher_input_tokens) == (3, 111)

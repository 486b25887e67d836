import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm.training.plan import cut, economical, plan

settings = st.fixed_dictionaries(
    {
        "epochs": st.integers(1, 5),
        "batch": st.integers(1, 40),
        "min_steps": st.integers(1, 30),
        "seed": st.integers(0, 3),
        "micro_batch": st.integers(0, 40),
    }
)
row_lengths = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@given(row_lengths, settings)
def test_every_optimizer_step_has_the_same_number_of_examples(lengths: list[int], chosen: dict[str, int]) -> None:
    made = plan(lengths, **chosen)
    steps = list(made.step_rows())

    assert len(steps) == made.steps
    assert {len(rows) for rows in steps} == {min(chosen["batch"], len(lengths))}


@given(row_lengths, settings)
def test_micro_batches_hold_the_rows_of_their_step_and_no_more_than_allowed(
    lengths: list[int], chosen: dict[str, int]
) -> None:
    made = plan(lengths, **chosen)
    micro_batches = list(made)

    assert len(micro_batches) == len(made)
    for number, rows in enumerate(made.step_rows()):
        parts = micro_batches[number * made.accumulation : (number + 1) * made.accumulation]
        assert sorted(row for part in parts for row in part) == sorted(rows)
        assert all(0 < len(part) <= made.micro_batch for part in parts)


@given(row_lengths, settings, st.randoms())
def test_neither_lengths_nor_hardware_change_which_rows_share_a_step(
    lengths: list[int], chosen: dict[str, int], rng: random.Random
) -> None:
    other = lengths.copy()
    rng.shuffle(other)

    mine = plan(lengths, **chosen).step_rows()
    theirs = plan(other, **(chosen | {"micro_batch": 1})).step_rows()
    assert list(mine) == list(theirs)


@given(row_lengths, settings)
def test_every_row_is_seen_equally_often_give_or_take_one(lengths: list[int], chosen: dict[str, int]) -> None:
    seen = Counter(row for rows in plan(lengths, **chosen).step_rows() for row in rows)
    counts = [seen[row] for row in range(len(lengths))]

    assert max(counts) - min(counts) <= 1
    assert sum(counts) >= chosen["epochs"] * len(lengths)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "min_steps", "steps"),
    [
        pytest.param(240, 16, 16, 1, 240, id="the keyword task takes 240 steps"),
        pytest.param(74, 3, 128, 1, 3, id="fewer rows than a batch are one step an epoch"),
        pytest.param(74, 3, 128, 100, 100, id="minSteps is reached by more epochs"),
        pytest.param(17, 1, 16, 1, 2, id="a last part of an epoch is filled from the next"),
    ],
)
def test_steps_follow_from_rows_epochs_and_batch(
    rows: int, epochs: int, batch: int, min_steps: int, steps: int
) -> None:
    made = plan([1] * rows, epochs=epochs, batch=batch, min_steps=min_steps, seed=0, micro_batch=0)

    assert made.steps == steps


def test_another_seed_is_another_order() -> None:
    first, second = (
        list(plan([1] * 50, epochs=1, batch=10, min_steps=1, seed=seed, micro_batch=0).step_rows()) for seed in (0, 1)
    )

    assert first != second


def test_rows_of_like_length_share_a_micro_batch() -> None:
    assert cut([0, 1, 2, 3], [9, 1, 8, 2], 2) == [[1, 3], [2, 0]]


def test_small_micro_batches_waste_little_padding() -> None:
    rng = random.Random(0)
    lengths = [int(rng.lognormvariate(5, 0.5)) + 1 for _ in range(500)]
    whole, pairs = (
        plan(lengths, epochs=1, batch=16, min_steps=1, seed=0, micro_batch=size).padding_waste() for size in (16, 2)
    )

    assert pairs < 0.10 < whole


@given(row_lengths, settings, st.integers(1, 5))
def test_ranks_share_the_rows_of_a_step_in_equally_many_micro_batches(
    lengths: list[int], chosen: dict[str, int], ranks: int
) -> None:
    made = [plan(lengths, **chosen, rank=rank, ranks=ranks) for rank in range(ranks)]
    shares = [list(of_rank) for of_rank in made]

    assert {len(share) for share in shares} == {len(of_rank) for of_rank in made}
    for number, rows in enumerate(plan(lengths, **chosen).step_rows()):
        step = slice(number * made[0].accumulation, (number + 1) * made[0].accumulation)
        assert sorted(row for share in shares for part in share[step] for row in part) == sorted(rows)
        assert all(len(part) <= made[0].micro_batch for share in shares for part in share[step])


@given(row_lengths, settings)
def test_an_economical_plan_pads_little_or_has_two_rows_at_a_time(lengths: list[int], chosen: dict[str, int]) -> None:
    made = plan(lengths, **chosen)
    better = economical(made, 0.05)

    assert better.padding_waste() <= 0.05 or better.micro_batch <= 2
    assert list(better.step_rows()) == list(made.step_rows())
    if made.padding_waste() <= 0.05:
        assert better == made

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm.training.plan import limit_padding, plan, split_evenly, split_min_padding

settings = st.fixed_dictionaries(
    {
        "epochs": st.integers(1, 5),
        "batch": st.integers(1, 40),
        "min_steps": st.integers(1, 30),
        "seed": st.integers(0, 3),
        "micro_batch": st.integers(0, 40),
    }
)


def positions(parts: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    """Of each micro-batch, as wide as its longest row."""
    return [len(part) * max((lengths[row] for row in part), default=0) for part in parts]


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
        assert all(parts)
        assert max(positions(parts, lengths)) <= made.micro_batch * max(lengths)


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
    assert split_evenly([0, 1, 2, 3], [9, 1, 8, 2], 2) == [[1, 3], [2, 0]]


def test_an_odd_row_is_left_alone_and_more_short_ones_take_the_room_of_a_long_one() -> None:
    lengths = [100, 25, 25, 24, 24]

    assert split_evenly(range(5), lengths, 2) == [[3, 4], [1, 2, 0]]
    assert split_min_padding(range(5), lengths, 2, room=300) == [[3, 4, 1, 2], [0]]
    assert split_min_padding(range(5), lengths, 3, room=50) == [[3, 4], [1, 2], [0]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.data())
def test_no_other_cut_of_a_step_pads_less(lengths: list[int], data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, len(lengths)))
    room = data.draw(st.integers(-(-len(lengths) // parts), len(lengths))) * max(lengths)
    found = split_min_padding(range(len(lengths)), lengths, parts, room)
    ordered = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    cuts = (
        [ordered[begin:end] for begin, end in itertools.pairwise((0, *places, len(ordered)))]
        for places in itertools.combinations(range(1, len(ordered)), parts - 1)
    )

    assert len(found) == parts
    assert [row for part in found for row in part] == ordered
    assert max(positions(found, lengths)) <= room
    assert sum(positions(found, lengths)) == min(
        sum(sizes) for sizes in (positions(cut, lengths) for cut in cuts) if max(sizes) <= room
    )


def test_small_micro_batches_waste_little_padding() -> None:
    rng = random.Random(0)
    lengths = [int(rng.lognormvariate(5, 0.5)) + 1 for _ in range(500)]
    whole, pairs = (
        plan(lengths, epochs=1, batch=16, min_steps=1, seed=0, micro_batch=size).padding_waste() for size in (16, 2)
    )

    assert pairs < 0.04
    assert whole > 0.4


def test_without_padding_a_step_is_cut_evenly() -> None:
    made = replace(
        plan([9, 1, 8, 2], epochs=1, batch=4, min_steps=1, seed=0, micro_batch=2),
        padded=False,
    )

    assert list(made) == [[1, 3], [2, 0]]


def test_a_large_step_is_cut_in_time() -> None:
    rng = random.Random(0)
    lengths = [int(rng.lognormvariate(5, 0.5)) + 1 for _ in range(5000)]
    made = limit_padding(plan(lengths, epochs=1, batch=4096, min_steps=1, seed=0, micro_batch=4096), 0.05)

    assert made.padding_waste() <= 0.05
    assert made.micro_batch > 32


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
        for share in shares:
            assert max(positions(share[step], lengths)) <= made[0].micro_batch * max(lengths)


@given(row_lengths, settings)
def test_an_economical_plan_pads_little_or_has_two_rows_at_a_time(lengths: list[int], chosen: dict[str, int]) -> None:
    made = plan(lengths, **chosen)
    better = limit_padding(made, 0.05)

    assert better.padding_waste() <= 0.05 or better.micro_batch <= 2
    assert list(better.step_rows()) == list(made.step_rows())
    if made.padding_waste() <= 0.05:
        assert better == made

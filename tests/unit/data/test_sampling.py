from __future__ import annotations

from collections import Counter

import pytest

from llm2llm.api.data import Share
from llm2llm.data.sampling import choose_rows, folds, sample_size

LABELS = ["a"] * 60 + ["b"] * 30 + ["c"] * 10


@pytest.mark.parametrize(
    ("share", "rows", "size"),
    [
        pytest.param({"count": 7}, 100, 7, id="a count is a count"),
        pytest.param({"fraction": "0.2"}, 100, 20, id="a fraction is of the rows"),
        pytest.param({"fraction": "0.25"}, 10, 3, id="half a row is rounded up"),
        pytest.param({"fraction": "0.29"}, 100, 29, id="a decimal is exact"),
    ],
)
def test_the_size_of_a_share(share: dict[str, str], rows: int, size: int):
    assert sample_size(Share.model_validate(share), rows) == size


def test_a_draw_is_the_same_every_time_and_another_one_for_another_seed_or_purpose():
    first = choose_rows(LABELS, 20, seed=0, purpose="p", stratify=False)
    assert first == choose_rows(LABELS, 20, seed=0, purpose="p", stratify=False)
    assert first != choose_rows(LABELS, 20, seed=1, purpose="p", stratify=False)
    assert first != choose_rows(LABELS, 20, seed=0, purpose="q", stratify=False)
    assert len(first) == 20


@pytest.mark.parametrize("count", [1, 10, 20, 33, 99, 100])
def test_stratified_every_label_gets_its_share_to_within_one_row(count: int):
    drawn = choose_rows(LABELS, count, seed=3, purpose="p", stratify=True)
    assert len(drawn) == count
    by_label = Counter(LABELS[index] for index in drawn)
    for label, members in Counter(LABELS).items():
        assert abs(by_label[label] - members * count / len(LABELS)) < 1


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        pytest.param(17, {"a": 10, "b": 5, "c": 2}, id="10.2, 5.1 and 1.7: the last row is the rarest label's"),
        pytest.param(16, {"a": 10, "b": 5, "c": 1}, id="9.6, 4.8 and 1.6: of equal remainders the first label's"),
    ],
)
def test_stratified_what_is_left_goes_to_the_largest_remainders(count: int, sizes: dict[str, int]):
    drawn = choose_rows(LABELS, count, seed=3, purpose="p", stratify=True)
    assert Counter(LABELS[index] for index in drawn) == sizes


def test_what_is_held_out_leaves_a_row_of_each_label_as_long_as_others_have_more():
    labels = ["a"] * 10 + list("bcdef")
    without = [choose_rows(labels, 3, seed=seed, purpose="p", stratify=True) for seed in range(20)]
    drawn = [choose_rows(labels, 3, seed=seed, purpose="p", stratify=True, leave_each=True) for seed in range(20)]

    assert any(labels[index] != "a" for taken in without for index in taken)
    assert all(labels[index] == "a" and len(taken) == 3 for taken in drawn for index in taken)
    assert len(choose_rows(labels, 12, seed=0, purpose="p", stratify=True, leave_each=True)) == 12
    assert choose_rows(LABELS, 20, seed=3, purpose="p", stratify=True, leave_each=True) == choose_rows(
        LABELS, 20, seed=3, purpose="p", stratify=True
    )


def test_folds_are_of_one_size_and_share_every_label():
    found = folds(LABELS, 4, seed=3)
    of_fold = [Counter(label for label, fold in zip(LABELS, found, strict=True) if fold == n) for n in range(4)]
    assert [counts.total() for counts in of_fold] == [25] * 4
    for label, whole in Counter(LABELS).items():
        assert all(abs(counts[label] - whole / 4) < 1 for counts in of_fold)


def test_folds_are_the_same_for_a_seed_and_others_for_another():
    assert folds(LABELS, 4, seed=3) == folds(LABELS, 4, seed=3)
    assert folds(LABELS, 4, seed=3) != folds(LABELS, 4, seed=4)
    assert folds([""] * 5, 4, seed=1) != folds([""] * 5, 4, seed=2)
    assert sorted(folds([""] * 5, 4, seed=0)) == [0, 0, 1, 2, 3]

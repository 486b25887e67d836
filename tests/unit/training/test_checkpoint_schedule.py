"""A training in virtual time: what a kill at the end of any step, or just before it, would cost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm.training.checkpoint_schedule import CheckpointSchedule


class Time:
    """Stands still but for what adds to `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Uploading:
    def __init__(self, time: Time, seconds: float) -> None:
        self.time = time
        self.there = time.now + seconds

    def done(self) -> bool:
        return self.time.now >= self.there

    def result(self) -> None:
        self.time.now = max(self.time.now, self.there)


def losses(
    interval: float, step: float, upload: float, *, steps: int = 200, save: float = 0
) -> tuple[list[float], Time]:
    """Seconds of training that are not in the store when each step ends; a checkpoint stops training for `save`."""
    time = Time()
    spacing = CheckpointSchedule(interval, time, time.now)
    taken: list[tuple[float, Uploading]] = []
    lost = []
    for number in range(1, steps + 1):
        time.now += step
        lost.append(number * step - max((trained for trained, way in taken if way.done()), default=0.0))
        if spacing.due(time.now):
            time.now += save
            taken.append((number * step, Uploading(time, upload)))
            spacing.record_start(taken[-1][1])
    return lost, time


@given(
    interval=st.floats(1, 50),
    step=st.floats(0.01, 20),
    upload=st.floats(0, 200),
    save=st.floats(0, 20),
)
def test_a_kill_costs_at_most_one_interval_whatever_steps_and_uploads_take(
    interval: float, step: float, upload: float, save: float
) -> None:
    lost, _ = losses(interval, step, upload, save=save)
    assert max(lost) <= max(interval, step) + 1e-6


@pytest.mark.parametrize(("upload", "waited"), [(0, 0), (10, 0), (45, 0), (100, 1), (400, 7)])
def test_training_waits_only_for_uploads_that_take_longer_than_half_an_interval(upload: float, waited: float) -> None:
    lost, time = losses(100, 1, upload, steps=1000)
    assert max(lost) <= 100
    assert time.now - 1000 == pytest.approx(1000 * (1 + waited), rel=0.15)


def test_checkpoints_are_no_more_frequent_than_their_uploads_ask_for() -> None:
    spacing = CheckpointSchedule(100, time := Time(), 1000)
    taken = []
    for number in range(1, 1001):
        time.now += 1
        if spacing.due(time.now):
            taken.append(number)
            spacing.record_start(Uploading(time, 9.5))
    assert taken[0] == 50
    assert {after - before for before, after in pairwise(taken)} == {90}


def test_what_befalls_an_upload_is_raised() -> None:
    class Lost(Uploading):
        def result(self) -> None:
            raise RuntimeError("no space")

    spacing = CheckpointSchedule(10, time := Time(), 1000)
    time.now += 3
    assert spacing.due(time.now)
    spacing.record_start(Lost(time, 0))
    time.now += 3
    with pytest.raises(RuntimeError, match="no space"):
        spacing.due(time.now)

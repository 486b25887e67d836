from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm_operator.kube.fairness import FairQueue


def filled(*items: str) -> FairQueue[str]:
    """A queue with these items, each called by its namespace and a number."""
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.add(item[0], item)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_namespaces_take_turns_and_each_keeps_its_order():
    assert drained(filled("a1", "a2", "a3", "b1", "c1", "b2")) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_an_item_is_in_the_queue_once():
    queue = filled("a1", "a1", "a2", "a1")
    assert len(queue) == 2
    assert drained(queue) == ["a1", "a2"]


def test_an_item_that_is_discarded_takes_no_turn():
    queue = filled("a1", "b1", "a2")
    for item in ("a1", "b1", "b2", "x1"):
        queue.discard(item[0], item)
    assert (list(queue.heads()), len(queue)) == (["a2"], 1)
    assert drained(queue) == ["a2"]


def test_a_namespace_that_may_take_none_keeps_its_turn():
    queue = filled("a1", "b1", "b2")
    assert queue.pop_if(lambda namespace: namespace == "b") == "b1"
    assert queue.pop_if(lambda namespace: namespace == "c") is None
    assert drained(queue) == ["a1", "b2"]


def test_nothing_can_be_taken_from_an_empty_queue():
    queue = filled("a1")
    queue.pop()
    with pytest.raises(IndexError):
        queue.pop()


@given(st.lists(st.sampled_from([f"{namespace}{number}" for namespace in "abc" for number in range(9)]), unique=True))
def test_between_two_items_of_a_namespace_each_other_that_waits_has_one(items: list[str]):
    order = drained(filled(*items))
    assert sorted(order) == sorted(items)
    for first, item in enumerate(order):
        for second in (place for place in range(first + 1, len(order)) if order[place][0] == item[0]):
            between, after = order[first + 1 : second], order[second:]
            waiting = {each[0] for each in after} - {item[0]}
            assert waiting <= {each[0] for each in between}
            break

"""Which worker gets which tests."""

from __future__ import annotations

import pytest
from tests.support.keyword import CHECKOUT
from tests.support.lanes import ONE_RUN, choose, lane, scope

OPERATOR = "tests/integration/control_plane"
A_MODULE, ANOTHER = f"{OPERATOR}/test_a.py", f"{OPERATOR}/test_b.py"
FREE = "tests/integration/local/test_c.py"


def test_the_tests_of_a_module_stay_together_and_all_that_share_a_cluster_with_a_node():
    assert scope(f"{FREE}::test_one[a::b]") == FREE
    assert (
        len({scope(f"{folder}test_{i}.py::t") for folder in ("tests/e2e/", "tests/integration/cluster/") for i in "ab"})
        == 1
    )


def test_modules_that_look_at_the_same_run_stay_together():
    assert all((CHECKOUT / module).exists() for module in ONE_RUN)
    assert len({scope(f"{module}::test_one") for module in ONE_RUN}) == 1


def test_only_tests_of_the_control_plane_are_in_a_lane():
    assert lane(A_MODULE) == lane(ANOTHER) != ""
    assert lane(FREE) == lane(scope("tests/e2e/test_run.py::t")) == ""


@pytest.mark.parametrize(
    ("waiting", "mine", "others", "expected"),
    [
        pytest.param([A_MODULE, FREE], False, 1, A_MODULE, id="a second worker enters a lane for two"),
        pytest.param([A_MODULE, FREE], False, 2, FREE, id="a third one does something else"),
        pytest.param([FREE, ANOTHER], True, 2, ANOTHER, id="who is in a lane stays there"),
        pytest.param([FREE], True, 2, FREE, id="until it is empty"),
        pytest.param([A_MODULE, ANOTHER], False, 2, A_MODULE, id="nobody is idle while there is work"),
    ],
)
def test_what_a_worker_runs_next(waiting: list[str], mine: bool, others: int, expected: str):
    folder = lane(A_MODULE)
    assert choose(waiting, {folder} if mine else set(), {folder: others}) == expected

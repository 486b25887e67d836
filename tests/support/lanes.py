"""Which worker gets which tests: all of a module, and those that need a control plane from few workers.

Each worker starts a control plane of its own at the first test that asks for one; with a node that has imported torch,
the chart and the example's data that takes most of a minute of CPU. So one worker runs all tests that want a node, and
two those that want a control plane alone. These tests mostly wait, and the other workers compute beside them.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

LANES = {"tests/integration/control_plane/": 2}
"""How many workers run the tests of a folder, as long as there is other work for the rest."""
ONE_GROUP = ("tests/e2e/", "tests/integration/cluster/")
"""Folders whose tests share a cluster with its node: one worker runs them, one after the other."""
ONE_RUN = ("tests/integration/local/test_run.py", "tests/integration/local/test_serve.py")
"""Modules that look at the same finished run: it is made once, for one worker."""


def scope(nodeid: str) -> str:
    """Returns what one worker runs as a whole: the module of a test, or all that share a cluster or a run."""
    module = nodeid.partition("::")[0]
    return "a cluster with a node" if module.startswith(ONE_GROUP) else ONE_RUN[0] if module in ONE_RUN else module


def lane(scope: str) -> str:
    """Returns the folder whose lane a scope is in; the empty string for one that any worker may take."""
    return next((folder for folder in LANES if scope.startswith(folder)), "")


def choose(waiting: Iterable[str], mine: set[str], taken: dict[str, int]) -> str:
    """Returns the scope that a worker runs next: of its own lanes first, else one that no lane keeps from it.

    Args:
        waiting: scopes that nobody runs yet, in their order; at least one.
        mine: the lanes that this worker is in.
        taken: how many workers are in each lane.
    """
    scopes = list(waiting)
    own = (scope for scope in scopes if lane(scope) in mine)
    free = (scope for scope in scopes if not lane(scope) or taken.get(lane(scope), 0) < LANES[lane(scope)])
    return next(own, None) or next(free, None) or scopes[0]  # a control plane more costs less than an idle worker


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Gives the tests of a scope to one worker, since they share its fixtures, and keeps workers in their lanes.

    xdist 3.8 has `xdist_group` for the first, and under pytest 9.2 each test is a group of its own: the mark is written
    into the id of a test at a place where nobody looks any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        lanes = {worker: {lane(scope) for scope in work} - {""} for worker, work in self.assigned_work.items()}
        taken = {folder: sum(folder in mine for mine in lanes.values()) for folder in LANES}
        self.workqueue.move_to_end(choose(self.workqueue, lanes.get(node, set()), taken), last=False)
        super()._assign_work_unit(node)

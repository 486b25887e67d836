"""How a run and the logs of its pods are followed: over watches that end, pods that end, and an API server that is away."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.followed import AWAY, FORBIDDEN, MISSING, Scripted, pod, state

from llm2llm_cluster.follow import Away, Gone, LogLine, NoLog, PodIs, Refused, RunIs, Update, follow_run


def happens(cluster: Scripted, number: int) -> list[Update]:
    """The first updates; the threads that remain are let go."""
    updates = follow_run(cluster, state("read"), pause=lambda _: None)
    found = [next(updates) for _ in range(number)]
    updates.close()
    cluster.open.set()
    return found


@pytest.mark.parametrize(
    ("states", "watches", "expected"),
    [
        pytest.param(
            [state("b")], [[("MODIFIED", state("a"))], [("MODIFIED", state("c"))]],
            [RunIs(state("a")), RunIs(state("b")), RunIs(state("c"))], id="a watch that ends begins anew",
        ),
        pytest.param(
            [state("b")], [[("MODIFIED", state("a")), AWAY]],
            [RunIs(state("a")), Away(AWAY.message), RunIs(state("b"))], id="a watch that is cut, too",
        ),
        pytest.param(
            [AWAY, state("b")], [[], []],
            [Away(AWAY.message), RunIs(state("b"))], id="an API server that is away is waited for",
        ),
        pytest.param(
            [state("a"), state("b")], [FORBIDDEN, FORBIDDEN],
            [RunIs(state("a")), RunIs(state("b"))], id="who may not watch polls",
        ),
        pytest.param([], [[("MODIFIED", state("a")), ("DELETED", state("a"))]], [RunIs(state("a")), Gone()], id="deleted"),
        pytest.param([MISSING], [[]], [Gone()], id="deleted while nothing was watched"),
        pytest.param([state("a", "v")], [[]], [Gone()], id="deleted and created anew"),
        pytest.param([FORBIDDEN], [[]], [Refused(FORBIDDEN)], id="no longer readable"),
    ],
)  # fmt: skip
def test_the_run_is_followed(states: list[Any], watches: list[Any], expected: list[Update]):
    assert happens(Scripted(states, watches), len(expected)) == expected


@pytest.mark.parametrize(
    ("pods", "logs", "expected"),
    [
        pytest.param(
            [None, pod("a"), pod("a", running=False), pod("b")], [["1", "2"], ["3"]],
            [PodIs(pod("a")), LogLine("1"), LogLine("2"), PodIs(pod("b")), LogLine("3")],
            id="a pod that ends is followed by the next",
        ),
        pytest.param(
            [pod("a"), pod("a")], [["1", "2", AWAY], ["1", "2", "3"]],
            [PodIs(pod("a")), LogLine("1"), LogLine("2"), LogLine("3")], id="a log that is cut goes on where it was",
        ),
        pytest.param([AWAY, pod("a")], [["1"]], [PodIs(pod("a")), LogLine("1")], id="the API server is away"),
        pytest.param(
            [FORBIDDEN, FORBIDDEN, pod("a")], [["1"]],
            [NoLog(FORBIDDEN.message), PodIs(pod("a")), LogLine("1")], id="who may not is told once",
        ),
        pytest.param(
            [pod("a"), pod("a")], [FORBIDDEN, FORBIDDEN], [PodIs(pod("a")), NoLog(FORBIDDEN.message)], id="no log",
        ),
    ],
)  # fmt: skip
def test_the_log_of_the_newest_pod_is_followed(pods: list[Any], logs: list[Any], expected: list[Update]):
    cluster = Scripted(pods=pods, logs=logs)
    assert happens(cluster, len(expected)) == expected
    assert set(cluster.tails) == {50}

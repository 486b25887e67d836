"""What is read of the containers before a step and beside it."""

from __future__ import annotations

from typing import Any

import pytest

from llm2llm_operator.model.containers import InitContainer, reason_and_message, unfinished_beside, unfinished_init

RUNNING = {"running": {"startedAt": "2026-01-01T12:00:00Z"}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
FAILED = {"terminated": {"exitCode": 255, "reason": "Error", "message": "iptables: not permitted"}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def container(name: str, state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": name, "state": state, **fields}


NATIVE = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}


@pytest.mark.parametrize(
    ("spec", "statuses", "expected"),
    [
        pytest.param({}, [], None, id="none at all"),
        pytest.param({}, [container("a", DONE)], None, id="all have ended well"),
        pytest.param({}, [container("a", FAILED)],
                     InitContainer("a", exit_code=255, words="exit code 255, Error: iptables: not permitted"),
                     id="one has failed"),
        pytest.param({}, [container("a", DONE), container("b", RUNNING), container("c", waiting("PodInitializing"))],
                     InitContainer("b"), id="the first that has not ended, and not those after it"),
        pytest.param({}, [container("a", {})], InitContainer("a", "PodInitializing"), id="nothing is known of it yet"),
        pytest.param({}, [container("a", waiting("ImagePullBackOff", "no such image"))],
                     InitContainer("a", "ImagePullBackOff", words="no such image"), id="its image cannot be pulled"),
        pytest.param(NATIVE, [container("proxy", RUNNING, started=True)], None, id="a native sidecar that has started"),
        pytest.param(NATIVE, [container("proxy", RUNNING)], None, id="a native sidecar of which no more is said"),
        pytest.param(NATIVE, [container("proxy", RUNNING, started=False)], InitContainer("proxy"),
                     id="a native sidecar whose startup probe has not succeeded"),
        pytest.param(NATIVE, [container("proxy", waiting("CrashLoopBackOff", "back-off 20s"), lastState=FAILED)],
                     InitContainer("proxy", "CrashLoopBackOff", 255, "exit code 255, Error: iptables: not permitted"),
                     id="one that crashes says how it ended last: that does not change with every back-off"),
        pytest.param(NATIVE, [container("proxy", DONE)], InitContainer("proxy", exit_code=0, words="exit code 0, Completed"),
                     id="a native sidecar that ended"),
    ],
)  # fmt: skip
def test_the_init_container_that_keeps_a_step_from_starting(
    spec: dict[str, Any], statuses: list[dict[str, Any]], expected: InitContainer | None
):
    assert unfinished_init(spec, {"initContainerStatuses": statuses}) == expected


@pytest.mark.parametrize(
    ("names", "statuses", "expected"),
    [
        pytest.param(["step"], [container("step", DONE)], "", id="the step is alone"),
        pytest.param(["step", "proxy"], [container("step", DONE), container("proxy", RUNNING)], "proxy", id="one runs on"),
        pytest.param(["proxy", "step"], [container("step", DONE), container("proxy", DONE)], "", id="it ended, too"),
        pytest.param(["step", "logs"], [container("step", DONE), container("logs", waiting("ImagePullBackOff"))], "logs",
                     id="one has yet to start"),
        pytest.param(["step", "logs"], [container("step", DONE)], "logs", id="one of which nothing is said yet"),
        pytest.param([], [container("step", DONE), container("a", RUNNING), container("b", RUNNING)], "a, b", id="two"),
        pytest.param([], [container("step", DONE), container("x" * 3000, RUNNING)], "x" * 1024, id="no name is too long"),
    ],
)  # fmt: skip
def test_the_containers_that_have_not_ended_with_the_step(
    names: list[str], statuses: list[dict[str, Any]], expected: str
):
    spec = {"containers": [{"name": name} for name in names]}
    assert unfinished_beside(spec, {"containerStatuses": statuses}) == expected


def test_native_sidecars_do_not_outlive_a_step():
    spec = {"containers": [{"name": "step"}], **NATIVE}
    statuses = {"initContainerStatuses": [container("proxy", RUNNING)], "containerStatuses": [container("step", DONE)]}
    assert unfinished_beside(spec, statuses) == ""


def test_the_words_of_whoever_wrote_them_are_cut():
    assert reason_and_message({"reason": "Evicted", "message": "x" * 3000}) == f"Evicted: {'x' * 1015}"
    assert reason_and_message({"message": "only this"}) == "only this"
    assert reason_and_message({}) == ""

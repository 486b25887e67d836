"""The commands for runs on a cluster, beside a cluster that says what the test has it say."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from llm2llm.cli.main import main
from llm2llm.errors import Transient
from llm2llm_cluster import commands
from llm2llm_cluster.client import ChangedMeanwhile

Output = pytest.CaptureFixture[str]
AWAY = Transient("the API server answered 503: shutting down")


def run(phase: str = "Running", *, generation: int = 1, observed: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "r", "uid": "u", "resourceVersion": "1", "generation": generation},
        "spec": spec,
        "status": {"phase": phase, "observedGeneration": observed, "message": "m"},
    }


class Said:
    """A cluster that answers so, in turn, and then with the last for ever."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def get(self, _: str) -> dict[str, Any]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """Stands in for the module time: waiting is what takes time."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Makes a cluster the one that the commands ask, and has waiting take no time."""

    def use(cluster: Any) -> Any:
        monkeypatch.setattr(commands, "_cluster", lambda *_: cluster)
        return cluster

    monkeypatch.setattr(commands, "time", Clock())
    return use


def test_a_program_gets_the_columns_of_a_run_without_iterations(
    cluster: Callable[[Any], Any], capsys: pytest.CaptureFixture[str]
):
    cluster(Said(run("Pending")))
    assert main(["get", "r", "-o", "csv"]) == 0
    assert capsys.readouterr().out == "iteration,train rows,accuracy,interval,mistakes,kept\n"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        pytest.param([run("Failed", generation=2), run("Running", generation=2, observed=2), run("Succeeded")], 0, id="retried"),
        pytest.param([run("Suspended", generation=2), run("Failed", generation=2, observed=2)], 1, id="resumed"),
        pytest.param([run("Succeeded", generation=2), run("Suspended", generation=2, observed=2)], 2, id="continued"),
        pytest.param([run("Succeeded", generation=1, observed=2)], 0, id="seen"),
    ],
)  # fmt: skip
def test_wait_takes_no_phase_from_before_a_change(cluster: Any, answers: list[Any], code: int):
    said = cluster(Said(*answers))
    assert main(["wait", "r", "--timeout", "60"]) == code
    assert said.asked == len(answers)


def test_wait_ends_in_time_also_where_the_operator_sees_nothing(cluster: Any, capsys: Output):
    cluster(Said(run("Succeeded", generation=2)))
    assert main(["wait", "r", "--timeout", "60"]) == 2
    assert "The operator has not seen the newest change of the spec yet" in capsys.readouterr().out


def test_wait_outlasts_an_api_server_that_is_away_and_says_so_once_each_time(cluster: Any, capsys: Output):
    said = cluster(Said(AWAY, AWAY, AWAY, run(), AWAY, run("Succeeded")))
    assert main(["wait", "r"]) == 0
    assert said.asked == 6
    assert capsys.readouterr().err.count("the API server answered 503: shutting down") == 2


def test_wait_ends_in_time_where_the_api_server_stays_away(cluster: Any, capsys: Output):
    cluster(Said(AWAY))
    assert main(["wait", "r", "--timeout", "60"]) == AWAY.exit_code
    assert "the API server answered 503" in capsys.readouterr().err


class Store:
    """A cluster with one run, which others change between a read and a change as often as `others` says."""

    def __init__(self, found: dict[str, Any], *others: Callable[[dict[str, Any]], object]) -> None:
        self.run = found
        self.others = list(others)

    def get(self, _: str) -> dict[str, Any]:
        read = deepcopy(self.run)
        if self.others:
            self.others.pop(0)(self.run)
            self.run["metadata"]["resourceVersion"] += "1"
        return read

    def change(self, run: dict[str, Any], change: dict[str, Any]) -> None:
        if run["metadata"] != self.run["metadata"]:
            raise ChangedMeanwhile("the object has been modified")
        for field, value in change.items():
            known = self.run["spec"].get(field)
            self.run["spec"][field] = {**known, **value} if isinstance(known, dict) else value


def budget(limit: int) -> Callable[[dict[str, Any]], object]:
    return lambda found: found["spec"].update(budget={"maxTeacherTokens": limit})


GENERATED = [{"steps": [{"stage": "Generate", "outcome": "Succeeded"}]}]
APPROVAL = {"mode": "BeforeTraining", "approvedRounds": 0}


def more_rounds(found: dict[str, Any]) -> None:
    found["status"]["iterations"] = GENERATED * 2


def nothing(_: dict[str, Any]) -> None:
    """Changes only the version, as a status does."""


@pytest.mark.parametrize(
    ("arguments", "found", "other", "expected"),
    [
        pytest.param(
            ["topup", "r", "--tokens", "5"], run(budget={"maxTeacherTokens": 10}), budget(500),
            {"budget": {"maxTeacherTokens": 505}}, id="topup",
        ),
        pytest.param(
            ["retry", "r"], run("Failed", retry=1), lambda found: found["spec"].update(retry=2), {"retry": 3}, id="retry"
        ),
        pytest.param(
            ["approve", "r"], run(approval=APPROVAL) | {"status": {"phase": "Suspended", "iterations": GENERATED}}, more_rounds,
            {"approval": {"mode": "BeforeTraining", "approvedRounds": 2}}, id="approve",
        ),
        pytest.param(["suspend", "r"], run(), nothing, {"suspend": True}, id="suspend"),
        pytest.param(["resume", "r"], run("Suspended", suspend=True), nothing, {"suspend": False}, id="resume"),
    ],
)  # fmt: skip
def test_what_others_change_meanwhile_is_decided_by(
    cluster: Any, arguments: list[str], found: dict[str, Any], other: Any, expected: dict[str, Any]
):
    store = cluster(Store(deepcopy(found), other))
    assert main(arguments) == 0
    assert store.run["spec"] == expected


def test_what_makes_no_sense_any_more_is_not_changed(cluster: Any, capsys: Output):
    store = cluster(Store(run(), lambda found: found["spec"].update(suspend=True)))
    assert main(["suspend", "r"]) == 64
    assert "r is suspended already" in capsys.readouterr().err
    assert store.run["spec"] == {"suspend": True}


def test_a_run_that_others_change_all_the_time_is_left(cluster: Any, capsys: Output):
    store = cluster(Store(run(), *[nothing] * 20))
    assert main(["suspend", "r"]) == 75
    assert capsys.readouterr() == ("", "r was changed by others 5 times meanwhile: nothing is changed; try again\n")
    assert store.run["spec"] == {}


def test_another_run_of_the_same_name_is_not_changed(cluster: Any, capsys: Output):
    store = cluster(Store(run(), lambda found: found["metadata"].update(uid="v")))
    assert main(["suspend", "r"]) == 64
    assert "r was deleted and created again meanwhile" in capsys.readouterr().err
    assert store.run["spec"] == {}


FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps"}
PATCH = "spec:\n  suspend: true\n"
WARNING = "warning: r may be set back by {}: change it in Git, too\n"


@pytest.mark.parametrize(
    ("labels", "options", "code", "out", "err"),
    [
        pytest.param(
            FLUX, [], 2,
            f"r is kept by Flux as Git has it, and may be set back by it: change it there, or use --force\n{PATCH}", "",
            id="kept by Flux",
        ),
        pytest.param(FLUX, ["--force"], 0, f"r: changed\n{PATCH}", WARNING.format("Flux"), id="forced"),
        pytest.param(
            FLUX | {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}, [], 0, f"r: changed\n{PATCH}", "", id="left by Flux"
        ),
        pytest.param(
            {"app.kubernetes.io/instance": "apps"}, [], 0, f"r: changed\n{PATCH}", WARNING.format("Argo CD"),
            id="perhaps kept by Argo CD",
        ),
        pytest.param({}, ["--force"], 0, f"r: changed\n{PATCH}", "", id="kept by nobody"),
    ],
)  # fmt: skip
def test_what_git_keeps_is_changed_only_by_force(
    cluster: Any, labels: dict[str, str], options: list[str], code: int, out: str, err: str, capsys: Output
):
    found = run()
    found["metadata"]["labels"] = labels
    store = cluster(Store(found))
    assert main(["suspend", "r", *options]) == code
    assert capsys.readouterr() == (out, err)
    assert store.run["spec"] == ({} if code else {"suspend": True})


@pytest.mark.parametrize("verb", ["suspend", "resume", "retry", "approve", "topup"])
def test_each_verb_can_be_forced(cluster: Any, verb: str, capsys: Output):
    found = run("Suspended", approval=APPROVAL, budget={"maxTeacherTokens": 1}, suspend=verb == "resume")
    found["metadata"]["labels"], found["status"]["iterations"] = FLUX, GENERATED
    cluster(Store(found))
    arguments = [verb, "r", *(["--tokens", "5"] if verb == "topup" else [])]
    assert main(arguments) == 2
    assert main([*arguments, "--force"]) == 0
    assert "r: changed" in capsys.readouterr().out

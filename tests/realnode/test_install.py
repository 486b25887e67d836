from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.realnode.conftest import Installed
from tests.support.install import SYSTEM
from tests.support.withoutcluster import digests_of, run_without_a_cluster


def metric(installed: Installed, pod: str, name: str) -> float:
    """What a replica serves under a name, over all labels."""
    text = installed.cluster.request("GET", f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics")
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))
    )


def names(installed: Installed) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in installed.operators()]


def test_both_replicas_watch_in_their_own_image_and_none_was_restarted(installed: Installed):
    team = installed.team()
    pods = names(installed)
    before = {pod: metric(installed, pod, "llm2llm_watch_events_total") for pod in pods}
    installed.platform.apply(team, installed.platform.manifest("held", suspend=True))
    installed.platform.wait(team, "held", lambda status: status.get("phase") == "Suspended", timeout=60)
    assert len(pods) == 2
    assert all(metric(installed, pod, "llm2llm_watch_events_total") > before[pod] for pod in pods)
    assert sum(metric(installed, pod, "llm2llm_leader") for pod in pods) == 1
    restarts = [pod["status"]["containerStatuses"][0]["restartCount"] for pod in installed.operators()]
    assert restarts == [0, 0]


def test_a_run_goes_to_its_end_under_restricted_with_the_digests_of_a_laptop_and_shows_no_secret(
    installed: Installed, tmp_path: Path
):
    team, platform = installed.team(), installed.platform
    document = platform.manifest(maxIterations=2)
    document["spec"]["train"]["hyperparameters"]["numTrainEpochs"] = 4
    for stage in ("train", "evaluate"):  # a sum depends on the number of threads
        document["spec"][stage].setdefault("resources", {}).setdefault("limits", {})["cpu"] = "1"
    platform.apply(team, document)
    status = platform.wait_for_end(team, timeout=600)
    assert (status["phase"], len(status["iterations"])) == ("Succeeded", 2), json.dumps(status, indent=1)
    assert all(step["attempt"] == 0 for row in status["iterations"] for step in row["steps"])
    assert run_without_a_cluster(platform, document, tmp_path) == digests_of(status)

    kubectl = installed.cluster.kubectl
    seen = kubectl("-n", team, "get", "arun,jobs,pods,events", "-o", "yaml")
    for pod in kubectl("-n", team, "get", "pods", "-o", "name").split():
        seen += kubectl("-n", team, "logs", pod)
    seen += "".join(kubectl("-n", SYSTEM, "logs", pod) for pod in names(installed))
    for path in (platform.s3.folder / "objects").rglob("*"):
        if path.is_file():
            seen += path.read_bytes().decode(errors="replace")
    for secret in (platform.s3.secret_key, platform.teacher.key):
        assert secret not in seen


@pytest.mark.turns("real node")
def test_it_is_uninstalled_and_installed_again_and_goes_on_with_a_run_in_flight(installed: Installed):
    team, platform = installed.team(), installed.platform
    platform.apply(team, platform.manifest(maxIterations=1))
    platform.wait(
        team, "keyword", lambda status: (status.get("currentStep") or {}).get("state") == "Running", timeout=120
    )
    with installed.uninstalled():
        assert platform.run(team)["status"]["phase"] != "Failed"
    assert platform.wait_for_end(team, timeout=600)["phase"] == "Succeeded"

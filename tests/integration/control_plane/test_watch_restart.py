"""What ends kopf does not end the operator's sight: the watches come back, and with them what happened meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

from tests.cluster.controlplane import Cluster
from tests.support.apiproxy import ApiProxy
from tests.support.install import RELEASE, SYSTEM, OperatorProcess
from tests.support.podender import PodEnder
from tests.support.runs import Runs
from tests.support.storm import Gust, Storm


class Failing(Storm):
    """Every watch ends with an ERROR 500 after a second, and no other request fails."""

    def at_request(self, request: object) -> None:
        """Nothing happens to it."""

    def watch_seconds(self) -> float | None:
        return 1.0 if self.rages else None

    def at_watch(self) -> Gust:
        return self._count(Gust.WATCH_FAILED)


def test_fault_09_after_a_watch_error_500_the_operator_sees_again(api: Cluster, runs: Runs, tmp_path: Path) -> None:
    storm = Failing(0)
    proxy = ApiProxy(api, tmp_path, namespace=SYSTEM, service_account=RELEASE, storm=storm)
    storm.rages = True
    with proxy, PodEnder(api, seconds=0.1):
        environment = {"KUBECONFIG": str(proxy.kubeconfig), "LLM2LLM_NAMESPACES": runs.namespace}
        with OperatorProcess(api, tmp_path, environment=environment):
            deadline = time.monotonic() + 20
            while not storm.struck[Gust.WATCH_FAILED]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            storm.rages = False
            runs.create("r", maxIterations=2)
            # kopf takes six seconds to end; without watches the lists of the first half minute do not bring it so far
            assert runs.wait_for_end("r", timeout=35)["phase"] == "Succeeded"


def test_fault_63_under_a_uid_without_a_passwd_entry_the_watches_live(api: Cluster, runs: Runs, tmp_path: Path) -> None:
    """The UID of the operator's own image: whoever asks the host for this user's name gets a KeyError."""
    environment = {"LLM2LLM_NAMESPACES": runs.namespace}
    with OperatorProcess(api, tmp_path, uid=65532, environment=environment) as operator:
        runs.create("r")
        deadline = time.monotonic() + 20
        while operator.metrics().get(("llm2llm_watch_events_total", "runs"), 0) < 1:
            assert time.monotonic() < deadline, operator.log()
            time.sleep(0.1)
        assert operator.metrics()["llm2llm_watch_restarts_total",] == 0
        assert operator.healthy()

"""What one write of a run's status costs the API server, in milliseconds of its CPU: most of it is what the CRD asks of it.

python -m benchmarks.status_write [--crd FILE ...]     another CRD than the committed one, to be compared with it
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster, RequestError
from tests.support import builders
from tests.support.install import CHECKOUT
from tests.support.runs import MERGE_PATCH

from benchmarks.stage import RUNS, TICKS
from llm2llm.api.run import API_VERSION, KIND, PLURAL

CRD = CHECKOUT / "crds" / "llm2llm.dev_augmentationruns.yaml"
WARM_UP, WRITES = 50, 400
MOMENT = "2026-01-01T00:00:00Z"


def milliseconds(crd: Path) -> float:
    """CPU time of the API server for a write, the mean of WRITES one after the other on an otherwise idle server."""
    with Cluster() as cluster:
        cluster.kubectl("apply", "-f", str(crd))
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{PLURAL}.{API_VERSION.split('/')[0]}")
        cluster.create_namespace("measured")
        path = f"{RUNS}/namespaces/measured/{PLURAL}"
        _create(cluster, path)
        for number in range(WARM_UP):
            _write(cluster, path, number)
        before = _cpu_seconds(cluster)
        for number in range(WRITES):
            _write(cluster, path, WARM_UP + number)
        return 1000 * (_cpu_seconds(cluster) - before) / WRITES


def _create(cluster: Cluster, path: str) -> None:
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "run"}, "spec": builders.spec()}
    for _ in range(50):
        try:
            cluster.request("POST", path, body)
        except RequestError:  # the new kind is served a moment after it is established
            time.sleep(0.2)
        else:
            return
    cluster.request("POST", path, body)


def _write(cluster: Cluster, path: str, number: int) -> None:
    status = {
        "message": f"write {number}",
        "observedGeneration": 1,
        "iterations": [_iteration(index) for index in range(3)],
    }
    cluster.request("PATCH", f"{path}/run/status", {"status": status}, content_type=MERGE_PATCH)


def _iteration(index: int) -> dict[str, Any]:
    """A row of the size that rows have."""
    metrics = [
        {"name": "accuracy", "dataset": name, "value": "0.8", "examples": 100, "low": "0.7", "high": "0.9"}
        for name in ("seed", "evaluation")
    ]
    steps = [
        {"stage": stage, "attempt": 0, "outcome": "Succeeded", "digest": f"sha256:{0:064d}", "startTime": MOMENT, "completionTime": MOMENT}
        for stage in ("Train", "Evaluate", "Generate")
    ]  # fmt: skip
    return {"index": index, "trainExamples": 100, "metrics": metrics, "steps": steps}


def _cpu_seconds(cluster: Cluster) -> float:
    """User and system time of the API server's process (proc(5), fields 14 and 15)."""
    stat = Path(f"/proc/{cluster.children['apiserver'].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crd", type=Path, nargs="*", default=[])
    print("| CRD | API server's CPU for a status write |\n|---|---|")
    for crd in (CRD, *parser.parse_args(argv).crd):
        print(f"| {crd.name} | {milliseconds(crd):.1f} ms |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

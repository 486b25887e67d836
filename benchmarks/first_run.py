"""Figures of the keyword example: accuracy by iteration, API writes of a run, and where an iteration's time goes.

    python -m benchmarks.first_run accuracy [--seeds 0,1,2]     the local runner, one run for each seed
    python -m benchmarks.first_run cluster [--quiet-seconds 60]  one run on the test cluster, every pod a fresh process

Each prints a Markdown table; docs/measurements.md holds what was printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster
from tests.cluster.jsonlines import read_json_lines
from tests.cluster.nodeprocess import start_node
from tests.cluster.s3 import S3Server
from tests.support.install import CHECKOUT, RELEASE, SYSTEM, OperatorProcess, install
from tests.support.platform import BUCKET, Platform
from tests.support.teacher import Teacher

OPERATOR = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
NAMESPACE = "measured"
LEAST_GAIN = 0.03


def accuracy(seeds: list[int]) -> int:
    """Runs the example without a cluster for each seed; 1 if the last iteration gains less than LEAST_GAIN anywhere."""
    rows: dict[int, list[float]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="llm2llm-accuracy-") as folder:
            command = [sys.executable, str(CHECKOUT / "examples/keyword/try.py"), "--out", folder, "--seed", str(seed)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            rows[seed] = [_evaluation(path) for path in sorted(Path(folder).glob("**/evaluate/manifest.json"))]
    print(f"| seed | {' | '.join(f'iteration {i}' for i in range(len(rows[seeds[0]])))} | last minus first iteration |")
    print("|" + "---|" * (len(rows[seeds[0]]) + 2))
    for seed, values in rows.items():
        print(f"| {seed} | {' | '.join(f'{value:.4f}' for value in values)} | {values[-1] - values[0]:+.4f} |")
    return int(any(values[-1] - values[0] < LEAST_GAIN for values in rows.values()))


def _evaluation(manifest: Path) -> float:
    report = json.loads(manifest.read_text())["report"]
    return next(float(metric["value"]) for metric in report["metrics"] if metric["dataset"] == "evaluation")


def cluster(quiet_seconds: float) -> int:
    """One run on the test cluster; pods are fresh processes, so imports cost what they cost."""
    with tempfile.TemporaryDirectory(prefix="llm2llm-measured-") as folder, Cluster() as api, S3Server() as s3:
        node = start_node(api, image_env={"OMP_NUM_THREADS": "1"})
        try:
            install(api)
            with Teacher(Path(folder) / "teacher") as teacher, OperatorProcess(api, Path(folder) / "operator"):
                platform = Platform(api, s3, teacher)
                platform.upload_example(Path(folder) / "keyword")
                platform.prepare_namespace(NAMESPACE)
                platform.apply(NAMESPACE, platform.manifest())
                status = platform.wait_for_end(NAMESPACE, timeout=1800)
                ended = platform.writes(OPERATOR, NAMESPACE)
                _print_times(platform, status)
                _print_writes(ended)
                time.sleep(quiet_seconds)
                later = platform.writes(OPERATOR, NAMESPACE)[len(ended) :]
                idle = [write for write in later if write["resource"] != "events"]
                print(f"\nWrites in the {quiet_seconds:.0f} s after the end: {len(idle)}")
                return int(status["phase"] != "Succeeded" or bool(idle))
        finally:
            node.stop()


def _print_writes(writes: list[dict[str, str]]) -> None:
    counted = Counter((write["verb"], write["resource"]) for write in writes if write["resource"] != "events")
    jobs = counted["create", "jobs"]
    print("\n| write | count |\n|---|---|")
    for (verb, resource), count in sorted(counted.items()):
        print(f"| {verb} {resource} | {count} |")
    print(f"| total | {counted.total()} |\n| target: at most 4 per Job and 4 per run | {4 * jobs + 4} |")


def _print_times(platform: Platform, status: dict[str, Any]) -> None:
    """Wall-clock seconds of each step of one iteration, from the API server's audit log and the steps' own reports."""
    index = len(status["iterations"]) - 2  # the last iteration that has all three steps
    steps = [
        ("inputs", "prepare"),
        *((f"iterations/{index:03d}/{s}", f"i{index:03d}-{s}") for s in ("train", "evaluate", "generate")),
    ]
    moments = _moments(platform)
    root = status["artifactsUri"].removeprefix(f"s3://{BUCKET}/")
    parts = ("imports", "load", "compute", "upload")
    print(f"| step | wall | schedule | {' | '.join(parts)} | start, end, report |")
    print("|" + "---|" * (len(parts) + 4))
    for folder, job in steps:
        body = platform.client().get_object(Bucket=BUCKET, Key=f"{root}/{folder}/manifest.json")["Body"].read()
        seconds = json.loads(body)["report"]["seconds"]
        created, bound, recorded = moments[job]
        wall, schedule = recorded - created, bound - created
        told = [float(seconds.get(part, 0.0)) for part in parts]
        rest = wall - schedule - sum(told)
        cells = [wall, schedule, *told, rest]
        print(f"| {job} | {' | '.join(f'{value:.2f}' for value in cells)} |")


def _moments(platform: Platform) -> dict[str, tuple[float, float, float]]:
    """By Job: when it was created, when its pod was bound to a node, when the operator recorded its end."""
    created: dict[str, float] = {}
    bound: dict[str, float] = {}
    recorded: dict[str, float] = {}
    current = ""
    for entry in read_json_lines(platform.cluster.audit_log):
        about = entry.get("objectRef", {})
        if about.get("namespace") != NAMESPACE:
            continue
        moment = datetime.fromisoformat(entry["stageTimestamp"]).timestamp()
        what = (entry["verb"], about.get("resource"), about.get("subresource"))
        if what == ("create", "jobs", None):
            # the status that records a step's end is written just before its successor is created
            if current:
                recorded[current] = moment
            current = about["name"].split("-", 2)[2].removesuffix("-a0")
            created[current] = moment
        elif what == ("create", "pods", "binding"):
            bound[about["name"].split("-", 2)[2].rsplit("-", 2)[0]] = moment
    return {job: (created[job], bound[job], recorded[job]) for job in recorded if job in bound}


def main(argv: list[str]) -> int:
    """The command line; the exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("accuracy")
    first.add_argument("--seeds", default="0,1,2")
    second = commands.add_parser("cluster")
    second.add_argument("--quiet-seconds", type=float, default=60.0)
    options = parser.parse_args(argv)
    if options.command == "accuracy":
        return accuracy([int(seed) for seed in options.seeds.split(",")])
    return cluster(options.quiet_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

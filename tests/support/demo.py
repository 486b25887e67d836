"""`make demo`: from nothing to the best adapter on a real control plane, shown as a user would see it.

Nothing here is simulated but the kubelet and the containers: the API server, the scheduler and the Job controller are
Kubernetes' own, the chart's ServiceAccount and roles are in force, S3 is a server process, training trains.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.cluster.nodeprocess import start_node
from tests.cluster.processes import recorded, stop
from tests.cluster.s3 import S3Server
from tests.support.install import CHECKOUT, SYSTEM, OperatorProcess, install
from tests.support.platform import BUCKET, Platform
from tests.support.teacher import Teacher

NAMESPACE = "demo"


def say(text: str) -> None:
    """One line of progress with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def build_binaries() -> None:
    """Builds what is missing; meanwhile, the first time, the loop runs without a cluster."""
    missing = not any((binaries.cache_folder() / "bin").glob("controlplane-*/controlplane"))
    failure: list[BaseException] = []

    def build() -> None:
        try:
            binaries.control_plane()
            binaries.versitygw()
            binaries.helm()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    builder = threading.Thread(target=build)
    builder.start()
    if missing:
        say("the control plane compiles in the background; the same run without a cluster, in the meantime:")
        subprocess.run([sys.executable, str(CHECKOUT / "examples/keyword/try.py")], check=False)
        say("waiting for the build to finish")
    builder.join()
    if failure:
        raise failure[0]


def watch(platform: Platform) -> dict[str, Any]:
    """Shows `kubectl get arun -w` until the run ends; returns its status."""
    command = [str(binaries.kubectl()), f"--kubeconfig={platform.cluster.kubeconfig}", "-n", NAMESPACE]
    viewer = subprocess.Popen([*command, "get", "arun", "keyword", "-w"])
    try:
        return platform.wait_for_end(NAMESPACE, timeout=1800)
    finally:
        time.sleep(0.5)  # the last line
        viewer.terminate()
        viewer.wait()


def show(status: dict[str, Any]) -> None:
    """The iteration table and what the run came to."""
    print(
        f"\n{'iteration':>9}  {'examples':>8}  {'steps':>5}  {'accuracy on evaluation':<24}{'mistakes':>8}  {'kept':>9}"
    )
    for row in status.get("iterations", []):
        score = next((m for m in row.get("metrics", []) if m["dataset"] == "evaluation"), None)
        accuracy = f"{score['value']} [{score['low']}, {score['high']}]" if score else ""
        kept = f"{row.get('kept', 0)}/{row.get('generated', 0)}"
        print(f"{row['index']:>9}  {row.get('trainExamples', 0):>8}  {row.get('optimizerSteps', 0):>5}  {accuracy:<24}"
              f"{row.get('mistakes', 0):>8}  {kept:>9}")  # fmt: skip
    best, usage = status.get("best"), status.get("usage", {})
    print(f"\n{status['phase']}: {status.get('message', '')}")
    if best:
        print(f"best adapter   iteration {best['iteration']}, accuracy {best['value']} on {best['examples']} rows")
        print(f"               {best['modelUri']}\n               {best['digest']}")
    tokens = usage.get("teacherInputTokens", 0), usage.get("teacherOutputTokens", 0)
    print(f"teacher        {usage.get('teacherRequests', 0)} requests, {tokens[0]} tokens in, {tokens[1]} tokens out")


def demo(folder: Path, *, keep: bool) -> int:
    """Runs it; returns 0 when the run succeeded."""
    begin = time.monotonic()
    take_down(folder)
    build_binaries()
    with contextlib.ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        say("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler")
        cluster = Cluster(folder / "cluster", detached=keep)
        s3 = S3Server(folder / "s3", detached=keep)
        teacher = Teacher(folder / "teacher", detached=keep)
        for part in (cluster, s3, teacher):
            part.start()
            if not keep:
                stack.callback(part.stop)
        say("starting a node agent with 8 GPUs, which runs pods as local processes")
        node = start_node(cluster, zygote=True, image_env={"OMP_NUM_THREADS": "1"}, detached=keep)
        if not keep:
            stack.callback(node.stop)
        say(
            f"installing the chart into {SYSTEM} (its Deployment aside) and starting the operator as its ServiceAccount"
        )
        install(cluster)
        operator = OperatorProcess(cluster, folder / "operator", detached=keep)
        operator.start()
        if not keep:
            stack.callback(operator.stop)
        platform = Platform(cluster, s3, teacher)
        platform.upload_example(folder / "keyword")
        platform.prepare_namespace(NAMESPACE)
        say(f"ready after {time.monotonic() - begin:.0f} s; kubectl apply -n {NAMESPACE} -f examples/keyword/run.yaml")
        applied = time.monotonic()
        print(platform.apply(NAMESPACE, platform.manifest()), end="", flush=True)
        status = watch(platform)
        show(status)
        print(
            f"time           {time.monotonic() - applied:.0f} s from apply to the end, {time.monotonic() - begin:.0f} s in all"
        )
        if keep:
            look_around(cluster, s3, operator, folder)
    return 0 if status.get("phase") == "Succeeded" else 1


def look_around(cluster: Cluster, s3: S3Server, operator: OperatorProcess, folder: Path) -> None:
    """How to look at what stays up."""
    print(f"""
Everything stays up. To look around:
  export KUBECONFIG={cluster.kubeconfig} PATH={binaries.kubectl().parent}:$PATH
  kubectl -n {NAMESPACE} describe arun keyword
  kubectl -n {NAMESPACE} get jobs,pods,events
  kubectl explain arun.spec.train.lora
  artifacts      {s3.folder}/objects/{BUCKET}/runs
  operator       http://127.0.0.1:{operator.port}/metrics, log {operator.folder}/operator.log
  take it down   python -m tests.support.demo --down   ({folder})""")


def take_down(folder: Path) -> None:
    """Ends what an earlier `make demo KEEP=1` left, by process id, and removes its files."""
    left = [
        child
        for name, part in (
            ("operator", "operator"), ("agent", "cluster/node"), ("teacher", "teacher"), ("versitygw", "s3"),
        )
        if (child := recorded(name, folder / part))
    ]  # fmt: skip
    stop(left)
    if (folder / "cluster").exists():
        Cluster(folder / "cluster", detached=True).stop()
    shutil.rmtree(folder, ignore_errors=True)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything up at the end")
    parser.add_argument("--down", action="store_true", help="take down what --keep left")
    options = parser.parse_args(argv)
    folder = binaries.cache_folder() / "demo"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started us with it ignored
    if options.down:
        take_down(folder)
        return 0
    try:
        return demo(folder, keep=options.keep)
    except KeyboardInterrupt:
        say("stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m tests.cluster up|down|env`: the cluster in the background, for the demo and for trying things out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.cluster.binaries import BuildError, cache_folder, kubectl
from tests.cluster.controlplane import Cluster
from tests.cluster.nodeprocess import ZYGOTE_COMMANDS, ZYGOTE_MODULES, NodeProcess
from tests.cluster.processes import StartError
from tests.cluster.s3 import S3Server


def main(argv: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start whatever does not run yet, and print how to reach it")
    down = commands.add_parser("down", help="stop what `up` started; its state stays")
    env = commands.add_parser("env", help="print how to reach it")
    for command in (up, down, env):
        command.add_argument("--dir", type=Path, default=cache_folder() / "cluster", help="its state (%(default)s)")
    up.add_argument("--no-s3", action="store_true", help="without the S3 server")
    up.add_argument("--no-node", action="store_true", help="without the node agent: pods stay Pending")
    up.add_argument("--zygote", action="store_true", help="start steps from a process that has imported torch")
    up.add_argument("--image-env", action="append", default=[], metavar="NAME=VALUE", help="set in every container")
    options = parser.parse_args(argv)

    cluster = Cluster(options.dir, detached=True)
    store = S3Server(options.dir / "s3", detached=True)
    node = NodeProcess(
        cluster,
        zygote_modules=ZYGOTE_MODULES if getattr(options, "zygote", False) else (),
        zygote_commands=ZYGOTE_COMMANDS if getattr(options, "zygote", False) else (),
        image_env=dict(text.split("=", 1) for text in getattr(options, "image_env", [])),
        detached=True,
    )
    if options.command == "down":
        for part in (node, store, cluster):
            part.stop()
        return 0
    try:
        if options.command == "up":
            cluster.start()
            if not options.no_s3:
                store.start()
            if not options.no_node:
                node.start()
        elif not cluster.attach():
            print(f"no cluster runs in {options.dir}: start one with `python -m tests.cluster up`", file=sys.stderr)
            return 1
        else:
            store.attach()
    except (BuildError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    _print_environment(cluster, store)
    return 0


def _print_environment(cluster: Cluster, store: S3Server) -> None:
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f"export PATH={kubectl().parent}:$PATH")
    if store.endpoint:
        for name, value in store.environment.items():
            print(f"export {name}={value}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

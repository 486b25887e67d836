"""The control plane under load: how soon the next Job follows, what it writes, and what it needs of the machine.

    python -m benchmarks.control_plane active  [--runs 1000 --rate 40 --iterations 3]   many runs at work at once
    python -m benchmarks.control_plane resting [--runs 10000 --active 300 --rate 50]    a few at work beside many at rest
    python -m benchmarks.control_plane fair    [--runs 10000 --rate 40]                 one tenant's few beside another's many
    python -m benchmarks.control_plane fat     [--runs 10000 --fat 200]                 specs as long as they may be, and a restart

A real API server, the operator as a process of its own under the chart's ServiceAccount. `jobender` ends Jobs at a
steady rate in place of Job controller, scheduler and kubelets. Each prints a table; docs/measurements.md holds what was
printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import Any

from benchmarks import audit, collector
from benchmarks.audit import percentile
from benchmarks.stage import Buckets, Stage, Usage, lag_percentile, wait_for

Row = tuple[str, str, str]
"""What was measured, the figure, and what is allowed."""
TEAMS = [f"team-{number}" for number in range(8)]
QUIET_TEAMS = [f"quiet-{number}" for number in range(20)]
SETTLING_SECONDS = 45.0
CROWD, NEIGHBOR = "crowd", "neighbor"
WAVE_SECONDS = 10.0
SLOW_SECONDS = 0.25
"""The target of Job done to next Job, among a thousand runs at work."""


def active(runs: int, rate: float, iterations: int, idle_seconds: float) -> int:
    """All runs are applied at once beside a bare client that creates the same Jobs; then their Jobs end at `rate`."""
    jobs = runs * 3 * iterations  # Prepare, and three stages an iteration of which the last generates nothing
    with Stage(TEAMS) as stage:
        operator = stage.operator()
        usage = Usage(operator)
        stage.bare_client()
        ender = stage.ender(rate, first=runs)
        applying = stage.apply([f"run-{number:05d}" for number in range(runs)], iterations)
        ender.wait("began", 1, 60 + runs / 5)
        machine = stage.machine(operator, ender)
        lag, cpu, began = usage.loop_lag(), usage.cpu_seconds(), time.monotonic()
        ender.wait("ended", jobs, 120 + 3 * jobs / rate)
        seconds = time.monotonic() - began
        cores = machine.cores()
        cpu, lags = usage.cpu_seconds() - cpu, usage.loop_lag()
        stage.wait_for_success(runs)
        time.sleep(2)  # the last clean-up
        phases, place = stage.phases(), stage.cluster.audit_log.stat().st_size
        time.sleep(idle_seconds)
        idle = audit.writes(list(audit.entries(stage.cluster.audit_log, place)))
        found = list(audit.entries(stage.cluster.audit_log))
        times, written = audit.latencies(found), audit.writes(found)
        ratio = percentile(times.first_job, 0.99) / percentile(times.bare_job, 0.99)
        rows: list[Row] = [
            ("cores used", _cores(cores), f"of {os.cpu_count()}"),
            ("runs, Jobs", f"{runs}, {jobs}; {phases}", ""),
            ("Jobs ended per second", f"{jobs / seconds:.1f} of {rate:g} requested", ""),
            ("stand-in: turns without a Job, late turns", f"{ender.counts()['starved']}, {ender.counts()['late']}", ""),
            *_latency_rows("Job done to next Job", times.next_job, "p99 250 ms"),
            *_latency_rows("of that, outside the API server", times.outside, ""),
            *_collector_rows(stage, times),
            *_latency_rows("run applied to first Job", times.first_job, ""),
            *_latency_rows("the same for the bare client", times.bare_job, ""),
            ("first Job p99 / bare client p99", f"{ratio:.2f}", "1.5"),
            ("runs applied a second", f"{runs / applying:.0f}", ""),
            ("Jobs created twice, second attempts", f"{times.created_twice}, {times.second_attempts}", "0, 0"),
            ("API writes", f"{written.total()}; {dict(written)}", f"{4 * jobs + 4 * runs}"),
            (f"API writes in {idle_seconds:.0f} idle seconds", str(idle.total()), "0"),
            (
                "resident memory at its peak, and at the end",
                f"{usage.peak_mib:.0f} MiB, {usage.mib():.0f} MiB",
                "180 MiB",
            ),
            ("CPU per Job", f"{1000 * cpu / jobs:.1f} ms ({100 * cpu / seconds:.0f} % of a core)", ""),
            ("event loop lag p50, p99", _lags(lag, lags), ""),
        ]
        usage.close()
    return _print(rows)


def resting(runs: int, active: int, rate: float, iterations: int) -> int:
    """`active` runs at work beside `runs` at rest; then a restart, and a fail-over after SIGKILL."""
    jobs = active * 3 * iterations
    with Stage(TEAMS, QUIET_TEAMS) as stage:
        ender = stage.ender(rate, first=1)
        first = stage.operator("first")
        originals = stage.originals(iterations)
        first.stop()
        ender.stop()
        seeding = stage.seed(originals, [f"rest-{number:05d}" for number in range(runs)])
        ender.restart(rate, first=active)
        operator = stage.operator(elected=True)
        usage = Usage(operator)
        started = operator.seconds_to_ready
        wait_for("a leader", operator.leads, 180)
        time.sleep(SETTLING_SECONDS)  # the lists of the first half minute are part of a start, not of its every day
        settled = usage.mib()
        place = stage.cluster.audit_log.stat().st_size
        stage.apply([f"run-{number:05d}" for number in range(active)], iterations)
        ender.wait("began", 1, 60 + active / 5)
        machine, lag, began = stage.machine(operator, ender), usage.loop_lag(), time.monotonic()
        ender.wait("ended", jobs, 120 + 3 * jobs / rate)
        seconds, cores, lags = time.monotonic() - began, machine.cores(), usage.loop_lag()
        stage.wait_for_success(active + 1)
        times = audit.latencies(list(audit.entries(stage.cluster.audit_log, place)))
        rows: list[Row] = [
            ("runs at rest, at work; Jobs", f"{runs} (seeded in {seeding:.0f} s), {active}; {jobs}", ""),
            ("cores used", _cores(cores), f"of {os.cpu_count()}"),
            ("Jobs ended per second", f"{jobs / seconds:.1f} of {rate:g} requested", ""),
            ("stand-in: turns without a Job, late turns", f"{ender.counts()['starved']}, {ender.counts()['late']}", ""),
            *_latency_rows("Job done to next Job", times.next_job, "p99 1500 ms"),
            *_latency_rows("of that, outside the API server", times.outside, ""),
            *_collector_rows(stage, times),
            *_latency_rows("run applied to first Job", times.first_job, ""),
            ("Jobs created twice, second attempts", f"{times.created_twice}, {times.second_attempts}", "0, 0"),
            ("resident memory at rest, and at its peak", f"{settled:.0f} MiB, {usage.peak_mib:.0f} MiB", "350 MiB"),
            ("event loop lag p50, p99", _lags(lag, lags), ""),
            ("start to synced", f"{started:.1f} s", "20 s"),
        ]
        usage.close()
        rows += [("restart to synced", f"{stage.restart(operator):.1f} s", "20 s")]
        seconds = stage.fail_over(operator, "late-00000", iterations, SETTLING_SECONDS)
        rows += [("fail-over after SIGKILL", f"{seconds:.1f} s", "20 s")]
    return _print(rows)


def fair(runs: int, rate: float, iterations: int) -> int:
    """One namespace applies `runs` at once; another applies a few, again and again, until they are done."""
    few, waves = 5, 6
    with Stage([CROWD, NEIGHBOR]) as stage:
        operator = stage.operator()
        usage = Usage(operator)
        ender = stage.ender(rate, first=1)
        names = [f"run-{number:05d}" for number in range(runs)]
        crowding = threading.Thread(target=stage.apply, args=(names, iterations, [CROWD]))
        crowding.start()
        ender.wait("began", 1, 60)
        machine, began = stage.machine(operator, ender), time.monotonic()
        for wave in range(waves):
            stage.apply([f"few-{wave}{number:04d}" for number in range(few)], iterations, [NEIGHBOR])
            time.sleep(WAVE_SECONDS)
        crowding.join()
        cores = machine.cores()
        found = [entry for entry in audit.entries(stage.cluster.audit_log) if entry.namespace == NEIGHBOR]
        crowd = [entry for entry in audit.entries(stage.cluster.audit_log) if entry.namespace == CROWD]
        times, others = audit.latencies(found), audit.latencies(crowd)
        rows: list[Row] = [
            ("cores used", _cores(cores), f"of {os.cpu_count()}"),
            ("runs of the crowd; of the neighbor", f"{runs}; {few * waves} in {time.monotonic() - began:.0f} s", ""),
            *_latency_rows("neighbor: run applied to first Job", times.first_job, "2000 ms"),
            *_latency_rows("neighbor: Job done to next Job", times.next_job, "2000 ms"),
            *_latency_rows("of that, outside the API server", times.outside, ""),
            *_latency_rows("crowd: run applied to first Job", others.first_job, ""),
            *_latency_rows("crowd: Job done to next Job", others.next_job, ""),
            ("Jobs created twice", f"{times.created_twice + others.created_twice}", "0"),
            ("resident memory at its peak", f"{usage.peak_mib:.0f} MiB", ""),
        ]
        usage.close()
    return _print(rows)


def fat(runs: int, count: int) -> int:
    """`count` suspended runs whose specs are as long as they may be beside `runs` ordinary ones at rest; then a restart."""
    with Stage(TEAMS, QUIET_TEAMS) as stage:
        ender = stage.ender(50, first=1)
        first = stage.operator("first")
        originals = stage.originals(iterations=3)
        first.stop()
        ender.stop()
        stage.seed(originals, [f"rest-{number:05d}" for number in range(runs)])
        spec = fat_fields()
        stage.apply([f"fat-{number:05d}" for number in range(count)], 1, suspend=True, **spec)
        operator = stage.operator()
        usage = Usage(operator)
        time.sleep(SETTLING_SECONDS)
        rows: list[Row] = [
            ("ordinary runs at rest; fat ones", f"{runs}; {count} of {len(json.dumps(spec)) / 2**20:.2f} MiB", ""),
            ("start to synced", f"{operator.seconds_to_ready:.1f} s", "20 s"),
            (
                "resident memory settled, and at its peak since",
                f"{usage.mib():.0f} MiB, {usage.peak_mib:.0f} MiB",
                "512 MiB",
            ),
        ]
        usage.close()
        started = stage.restart(operator)
        usage = Usage(operator)
        time.sleep(SETTLING_SECONDS)
        rows += [
            ("restart to synced", f"{started:.1f} s", "20 s"),
            (
                "resident memory after it, and its peak by the kernel",
                f"{usage.mib():.0f} MiB, {usage.high_water_mib():.0f} MiB",
                "512 MiB",
            ),
        ]
        usage.close()
    return _print(rows)


def fat_fields() -> dict[str, Any]:
    """Top-level fields of a spec in which environments, annotations, tolerations and affinity are as long as they may
    be.
    """
    env = [{"name": f"V{number}", "value": "v" * 4090} for number in range(4)]
    tolerations = [{"key": f"{number:02d}{'k' * 116}", "operator": "Exists"} for number in range(32)]
    pods = {"topologyKey": "zone", "namespaces": [f"{number:02d}{'n' * 240}" for number in range(16)]}
    nodes = [{"key": f"k{number}", "operator": "In", "values": ["v" * 250] * 15} for number in range(2)]
    pod_affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": [pods] * 2,
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": pods}] * 2,
    }
    node_affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": nodes}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": nodes}}],
    }
    block = {"env": env, "tolerations": tolerations}
    overrides = {
        "annotations": {f"a{number}": "v" * 4090 for number in range(4)},
        "affinity": {"nodeAffinity": node_affinity, "podAffinity": pod_affinity, "podAntiAffinity": pod_affinity},
    }
    return {"train": block, "evaluate": block, "prepare": block, "podOverrides": block | overrides}


def _cores(cores: dict[str, float]) -> str:
    return ", ".join(f"{name} {used:.2f}" for name, used in cores.items())


def _lags(before: Buckets, after: Buckets) -> str:
    return ", ".join(f"<= {1000 * lag_percentile(before, after, share):g} ms" for share in (0.5, 0.99))


def _latency_rows(what: str, seconds: list[float], allowed: str) -> list[Row]:
    figures = [1000 * percentile(seconds, share) for share in (0.5, 0.99, 1.0)]
    return [(f"{what}: p50, p99, max of {len(seconds)}", ", ".join(f"{figure:.0f} ms" for figure in figures), allowed)]


def _collector_rows(stage: Stage, times: audit.Latencies) -> list[Row]:
    """How much of the time the API server collected its garbage, and how much of what was slow was slow then."""
    spans = collector.collections(stage.cluster.children["apiserver"])
    windows = [(at - took, at) for at, took in zip(times.next_at, times.next_job, strict=True)]
    whole = (min(begin for begin, _ in windows), max(end for _, end in windows))
    spans = [span for span in spans if span[1] > whole[0] and span[0] < whole[1]]
    slow = [window for window in windows if window[1] - window[0] > SLOW_SECONDS]
    told = f"{len(spans)}, {100 * collector.within(spans, whole):.0f} % of the time"
    among = "{} of {}".format(*collector.beside(slow, spans))
    return [
        ("garbage collections of the API server", told, ""),
        (f"next Jobs after more than {1000 * SLOW_SECONDS:.0f} ms: those during a collection", among, ""),
    ]


def _print(rows: list[Row]) -> int:
    print("| figure | measured | target |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("active")
    first.add_argument("--runs", type=int, default=1000)
    first.add_argument("--rate", type=float, default=40.0, help="Jobs that end in a second")
    first.add_argument("--iterations", type=int, default=3, help="3 Jobs each")
    first.add_argument("--idle-seconds", type=float, default=60.0)
    second = commands.add_parser("resting")
    second.add_argument("--runs", type=int, default=10_000)
    second.add_argument("--active", type=int, default=300)
    second.add_argument("--rate", type=float, default=50.0, help="Jobs that end in a second")
    second.add_argument("--iterations", type=int, default=3, help="3 Jobs each")
    third = commands.add_parser("fair")
    third.add_argument("--runs", type=int, default=10_000)
    third.add_argument("--rate", type=float, default=40.0, help="Jobs that end in a second")
    third.add_argument("--iterations", type=int, default=3, help="3 Jobs each")
    fourth = commands.add_parser("fat")
    fourth.add_argument("--runs", type=int, default=10_000)
    fourth.add_argument("--fat", type=int, default=200)
    options = parser.parse_args(argv)
    if options.command == "fair":
        return fair(options.runs, options.rate, options.iterations)
    if options.command == "fat":
        return fat(options.runs, options.fat)
    if options.command == "resting":
        return resting(options.runs, options.active, options.rate, options.iterations)
    return active(options.runs, options.rate, options.iterations, options.idle_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

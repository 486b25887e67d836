"""What `make try` runs: data, a teacher on a free port, and the whole loop in one process.

    python examples/keyword/try.py [--out ./out] [--iterations N] [--seed N]

Given again, it goes on where it was, or shows what is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from make import cached_base_model, is_cached, make

HERE = Path(__file__).resolve().parent
KEY_VARIABLE = "KEYWORD_TEACHER_KEY"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Try LLM2LLM on the keyword example.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for all output")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="number of the seed set, and random seed of the run")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out.absolute()
    known = is_cached()
    print(
        f"Found: Python {sys.version.split()[0]}, {os.cpu_count()} CPU cores, "
        f"{'the base model in the cache' if known else 'no base model yet'}.\n"
        f"Will do: {'' if known else 'pretrain the base model (about a minute, once), '}write the data below {out}, "
        f"start a teacher on a local port, and run {arguments.iterations} iterations of "
        "train, evaluate, generate on the CPU (2 to 4 minutes).\n"
        "Ctrl-C stops it after saving a checkpoint; run the same command again to resume.",
        flush=True,
    )
    cached_base_model()
    data = out / "data"
    make(data, arguments.seed)
    key = secrets.token_hex(16)
    with teacher(key) as base_url:
        return run(out, data, base_url, key, arguments)


@contextmanager
def teacher(key: str) -> Iterator[str]:
    """The teacher server, in a session of its own so that Ctrl-C does not end it before the run has saved its work."""
    command = [sys.executable, str(HERE / "teacher.py"), "--api-key", key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield json.loads(line)["baseUrl"]
        finally:
            process.terminate()


def run(out: Path, data: Path, base_url: str, key: str, arguments: argparse.Namespace) -> int:
    """`llm2llm run` on this folder with the addresses changed; its exit code."""
    settings = {
        "spec.data.seed.uri": (data / "seed.jsonl").as_uri(),
        "spec.data.evaluation.uri": (data / "evaluation.jsonl").as_uri(),
        "spec.student.model.uri": (data / "model").as_uri(),
        "spec.generate.teacher.baseUrl": base_url,
        "spec.maxIterations": arguments.iterations,
        "spec.randomSeed": arguments.seed,
    }
    command = [sys.executable, "-m", "llm2llm.cli", "run", str(HERE), "--workdir", str(out)]
    command += ["--secret", f"teacher/api-key={KEY_VARIABLE}"]
    for path, value in settings.items():
        command += ["--set", f"{path}={value}"]
    environment = {**os.environ, KEY_VARIABLE: key, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with subprocess.Popen(command, env=environment) as process:
        # A terminal sends Ctrl-C to both; a SIGTERM to this process alone is passed on.
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


if __name__ == "__main__":
    raise SystemExit(main())

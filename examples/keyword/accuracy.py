"""Shows that the loop helps: the accuracy of each iteration, for several seed sets.

    python examples/keyword/accuracy.py [--seeds 0,1,2] [--iterations 5] [--out DIR]

Each seed set is a run of its own with that random seed. The last line tells the smallest gain of the last iteration
over the first; single iterations swing by about 0.025.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Accuracy of each iteration of the keyword example.")
    parser.add_argument("--seeds", default="0,1,2", help="numbers of seed sets, separated by commas")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder to keep; by default a temporary one")
    arguments = parser.parse_args(argv)
    gains = []
    with contextlib.ExitStack() as stack:
        out = arguments.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for seed in map(int, arguments.seeds.split(",")):
            scores = accuracies(out / f"seed-{seed}", seed, arguments.iterations)
            gains.append(scores[-1] - scores[0])
            print(f"seed {seed}: {' '.join(f'{score:.3f}' for score in scores)}  gain {gains[-1]:+.3f}", flush=True)
    print(f"smallest gain {min(gains):+.3f}, mean {sum(gains) / len(gains):+.3f}")
    return 0


def accuracies(out: Path, seed: int, iterations: int) -> list[float]:
    """Accuracy on the evaluation set of each iteration of one run."""
    command = [sys.executable, str(HERE / "try.py"), "--out", str(out), "--seed", str(seed)]
    command += ["--iterations", str(iterations)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the run of seed {seed} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    scores = []
    for manifest in sorted(out.glob("*/*/iterations/*/evaluate/manifest.json")):
        metrics = json.loads(manifest.read_text())["report"]["metrics"]
        scores += [metric["value"] for metric in metrics if metric["dataset"] == "evaluation"]
    return scores


if __name__ == "__main__":
    raise SystemExit(main())

"""What `make demo`, `make try` and `make test` print first: what was found, what follows, how long it usually takes.

Standard library only, and fast: it runs before there is a virtual environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NEEDS = {"demo": ("go", "git", "make"), "test": ("go", "git", "make"), "try": ("make",)}
DISK_GIB = {"demo": 14, "test": 14, "try": 8}
PLAN = {
    "demo": (
        "make a virtual environment with PyTorch and vLLM for CPU (5 GB; about 1 minute the first time)",
        "build Kubernetes 1.34, an S3 server and helm from their Go modules (5 to 10 minutes the first time); "  # noqa: ISC004
        "meanwhile the example runs once without a cluster",
        "start the control plane, a node agent with 8 GPUs, S3 and a teacher on loopback, the chart, the operator",
        "apply examples/keyword/run.yaml and show it until the best adapter is found (2 to 4 minutes)",
        "take everything down again (make demo KEEP=1 leaves it up)",
    ),
    "try": (
        "make a virtual environment with PyTorch (4 GB; about 1 minute the first time)",
        "make the example's data and its tiny base model (about 1 minute the first time)",
        "start the example's teacher on loopback and run 5 iterations in this process (1 to 3 minutes)",
    ),
    "test": (
        "make a virtual environment with PyTorch and vLLM for CPU (5 GB; about 1 minute the first time)",
        "build Kubernetes 1.34, an S3 server and helm from their Go modules (about 5 to 10 minutes the first time), "  # noqa: ISC004
        "and unpack Prometheus from the distribution's package",
        "run the unit, integration and end-to-end tests against the real parts",
    ),
}


def cache_folder() -> Path:
    """The same place as tests/cluster/binaries.py takes."""
    chosen = os.environ.get("LLM2LLM_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm2llm"


def version(tool: str) -> str:
    """What the tool says of its version, or '' where it is missing."""
    if shutil.which(tool) is None:
        return ""
    arguments = ["version"] if tool == "go" else ["--version"]
    told = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, cwd="/").stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", told)
    return found.group() if found else "?"


def main() -> int:
    """Prints what was found and what follows; 1 where something that is needed is missing."""
    what = sys.argv[1]
    missing = []
    found = [f"Python {sys.version.split()[0]}"]
    if sys.version_info < (3, 11):  # noqa: UP036 - it is the check
        missing.append("Python 3.11 or newer (set PYTHON=...)")
    for tool in NEEDS[what]:
        told = version(tool)
        found.append(f"{tool} {told or 'not found'}")
        if not told:
            missing.append(tool)
    free = shutil.disk_usage(CHECKOUT).free / 2**30
    if free < DISK_GIB[what]:
        missing.append(f"{DISK_GIB[what]} GiB of free disk")
    installed = (CHECKOUT / (".venv-try" if what == "try" else ".venv") / "installed").exists()
    built = any((cache_folder() / "bin").glob("controlplane-*/controlplane"))
    network = "not needed" if installed and (built or what == "try") else "package registries (PyPI, Go modules)"
    print(f"found    {', '.join(found)}; {free:.0f} GiB free disk; network: {network}")
    ready = "installed" if installed else "not yet installed"
    print(
        f"         environment {ready}"
        + ("" if what == "try" else f"; control plane {'built' if built else 'not yet built'}")
    )
    for number, line in enumerate(PLAN[what], 1):
        print(f"{'will' if number == 1 else '    '}     {number}. {line}")
    for thing in missing:
        print(f"missing  {thing}", file=sys.stderr)
    sys.stdout.flush()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

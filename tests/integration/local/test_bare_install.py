"""What `pip install llm2llm-operator` brings without an extra: enough to write a manifest and to check it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[3]
_RUN = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
blocked = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Blocker())
from llm2llm.cli.start import main
sys.exit(main(sys.argv[2:]))
"""


def brought() -> set[str]:
    """The distributions that an installation without extras has, by what each of them requires."""
    found: set[str] = set()
    waiting = ["llm2llm-operator"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:  # for another platform or Python
            continue
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def bare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command where nothing else can be imported."""
    names = brought()
    owners = packages_distributions()
    blocked = [module for module, of in owners.items() if not {canonicalize_name(each) for each in of} & names]
    assert {"torch", "boto3", "kubernetes", "matplotlib", "regex"} <= set(blocked)
    command = [sys.executable, "-c", _RUN, json.dumps(blocked), *arguments]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_a_manifest_is_written_and_checked_without_any_extra(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("text,queue\nmy card is lost,cards\nwhere is my money,transfers\n" * 4)
    written = bare(tmp_path, "init", "rows.csv")
    assert (written.returncode, written.stderr) == (0, "")
    checked = bare(tmp_path, "validate", "run.yaml")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "is valid" in checked.stdout


def test_what_needs_an_extra_names_it(tmp_path: Path):
    for command, extra in (("get", "cluster"), ("check", "local")):
        done = bare(tmp_path, command, str(CHECKOUT / "examples" / "keyword" / "run.yaml"))
        assert done.returncode == 64
        assert f'pip install "llm2llm-operator[{extra}]"' in done.stderr

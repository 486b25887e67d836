"""What would break far away from where it was caused."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from tests.support.imports import loaded

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_folder_operator_does_not_shadow_the_standard_library():
    assert not (CHECKOUT / "operator" / "__init__.py").exists()
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, ''); import operator; print(operator.add(1, 2))"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "3", done.stderr


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (
            "llm2llm.api.run, llm2llm.loop.steps, llm2llm.layout",
            "torch transformers peft vllm openai boto3 kopf kubernetes",
        ),
        ("llm2llm_operator.decide.plan, llm2llm_operator.reconcile", "torch transformers peft vllm openai boto3 kopf"),
        ("llm2llm_operator.main", "torch transformers peft vllm openai boto3"),
    ],
)
def test_importing_a_part_does_not_load_what_its_image_does_not_hold(modules: str, forbidden: str):
    assert loaded(forbidden, f"import {modules}") == []


def test_no_import_closes_a_circle():
    """Imports of functions and of type checkers, too: a module in a circle can be understood only with all of it."""
    shipped = ("llm2llm", "llm2llm_operator", "llm2llm_cluster", "llm2llm_crdgen")
    graph = grimp.build_graph(*shipped, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"each of these is imported by the next: {' -> '.join(error.args[1])}")


def test_no_file_has_more_than_400_lines():
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    long = {name: n for name in tracked.split() if (n := len((CHECKOUT / name).read_text().splitlines())) > 400}
    assert long == {}

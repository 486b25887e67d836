"""The tree of tests mirrors the code: whoever changes a module finds its tests under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = {
    "images/llm2llm": "tests/unit",
    "operator/llm2llm_operator": "tests/unit/control_plane",
    "operator/llm2llm_cluster": "tests/unit/cluster_commands",
    "operator/llm2llm_crdgen": "tests/unit/control_plane/crdgen",
}
"""Where the tests of a package are; those that need real parts are in tests/integration, under the module's name, too."""
THIN = {
    "images/llm2llm/cli/__main__.py": "calls cli/main.py",
    "operator/llm2llm_cluster/options.py": "names the options that the commands share",
    "images/llm2llm/storage/base.py": "a protocol: tests/integration/data_plane/test_stores.py holds each store to it",
}
"""Modules with nothing to test, and why."""
MODULES = [
    (package, path.relative_to(CHECKOUT / package))
    for package in ROOMS
    for path in sorted((CHECKOUT / package).rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize(("package", "module"), MODULES, ids=[f"{package}/{module}" for package, module in MODULES])
def test_a_module_has_a_file_of_tests_of_its_name(package: str, module: Path):
    if f"{package}/{module}" in THIN:
        return
    unit = CHECKOUT / ROOMS[package] / module.parent / f"test_{module.name}"
    integration = list((CHECKOUT / "tests" / "integration").glob(f"*/test_{module.name}"))
    assert unit.exists() or integration, f"write {unit.relative_to(CHECKOUT)}, or name the reason in THIN"


def test_what_is_called_thin_exists():
    assert all((CHECKOUT / module).exists() for module in THIN)

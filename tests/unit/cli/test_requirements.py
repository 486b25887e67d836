"""What is missing for a run, and what to install."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from llm2llm.cli import run as run_command
from llm2llm.cli.main import main
from llm2llm.cli.requirements import INSTALL, describe_missing, missing_modules

CHECKOUT = Path(__file__).resolve().parents[3]


def test_a_run_names_all_that_is_missing_before_it_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_command, "missing_modules", lambda: ["torch", "openai"])
    assert main(["run", str(CHECKOUT / "examples" / "keyword")]) == 64
    assert capsys.readouterr().err == f"this needs torch, openai, which are not installed: {INSTALL.format('local')}\n"


def test_here_nothing_is_missing_and_a_module_that_nobody_wrote_is():
    assert missing_modules() == []
    assert missing_modules(["json", "no_such_module"]) == ["no_such_module"]
    assert describe_missing(["a"]).startswith("this needs a, which is not installed")
    assert describe_missing(["kubernetes"]).endswith('pip install "llm2llm-operator[cluster]"')


def test_one_extra_has_all_that_a_laptop_needs():
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["local"] == ["llm2llm-operator[trainer,generator]"]
    assert not [requirement for requirement in (*extras["trainer"], *extras["generator"]) if "vllm" in requirement]

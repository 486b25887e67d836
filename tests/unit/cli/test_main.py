"""The command line as a whole: its commands, and how it ends."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from llm2llm.cli import main as command_line
from llm2llm.cli.main import main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("run", "step", "validate", "report", "mistakes", "samples", "suspects", "compare", "verify"):
        assert f" {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["train"], "No such command 'train'", id="a command that is none"),
        pytest.param(["validate"], "Missing argument", id="a command without its files"),
        pytest.param(["report", "--json", "x"], "No such option: --json", id="an option that is none"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param(SystemExit(), 0, id="without a word"),
        pytest.param(SystemExit("words"), 1, id="with words"),
        pytest.param(SystemExit(75), 75, id="with a code"),
        pytest.param(typer.Exit(67), 67, id="as a command does"),
        pytest.param(KeyboardInterrupt(), 130, id="with Ctrl-C"),
    ],
)
def test_however_a_command_ends_its_code_is_returned(end: BaseException, code: int, monkeypatch: pytest.MonkeyPatch):
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise end

    monkeypatch.setattr(command_line, "app", app)
    assert main([]) == code


def test_python_runs_it_as_a_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "argv", ["llm2llm", "validate", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("llm2llm.cli", run_name="__main__")
    assert ended.value.code == 64


def test_a_terminal_that_is_not_in_utf_8_ends_no_command():
    code = "from llm2llm.cli import main as m; m.app = lambda **_: print('größer \\u5317 \\ud800'); m.main([])"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True
    )
    assert ended.stdout == b"gr\xf6\xdfer ? ?\n"

"""Which commands the tutorial shows; tests/integration/local/test_tutorial.py runs them."""

from __future__ import annotations

import re

from tests.support.tutorial import shown


def test_init_and_validate_are_run():
    commands = [command.split()[:2] for command, _ in shown(run=True) if command.startswith("llm2llm")]
    assert commands == [["llm2llm", "init"], ["llm2llm", "init"], ["llm2llm", "validate"]]


def test_the_page_shows_every_command_of_the_way():
    named = {command for each in shown(run=False) for command in re.findall(r"llm2llm (\w+)", each.command)}
    local = {
        "check",
        "preview",
        "run",
        "report",
        "mistakes",
        "samples",
        "suspects",
        "compare",
        "fetch",
        "serve",
        "push",
    }
    assert named >= local | {"watch", "get", "why", "logs", "wait"}

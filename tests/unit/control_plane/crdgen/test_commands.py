"""The page of the command line."""

from __future__ import annotations

from pathlib import Path

from llm2llm_crdgen.commands import commands_reference

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "cli.md"


def test_the_committed_page_is_what_the_commands_say():
    page = commands_reference()
    assert PAGE.read_text() == page
    for words in (
        "## `llm2llm mistakes`",
        "Example: llm2llm compare",
        "Output format; json and csv",
        "[endings.md](endings.md)",
    ):
        assert words in page

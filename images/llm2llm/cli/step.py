"""`llm2llm step`: runs one step in a pod."""

from __future__ import annotations

import os

import typer


def step() -> None:
    """Run the single step that LLM2LLM_STEP describes; this is what a pod runs."""
    from llm2llm.step import main_step

    raise typer.Exit(main_step(os.environ))

"""How commands that read manifests report what is wrong with them."""

from __future__ import annotations

import pytest

from llm2llm.cli.manifests import print_problems
from llm2llm.errors import InvalidManifest


def test_each_problem_is_a_line_for_people_and_none_is_output(capsys: pytest.CaptureFixture[str]):
    ended = print_problems(InvalidManifest(["spec.task: is required", "spec.data: is required"]))
    assert ended.exit_code == 64
    assert capsys.readouterr() == ("", "spec.task: is required\nspec.data: is required\n")

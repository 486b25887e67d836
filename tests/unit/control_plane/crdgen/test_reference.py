"""The pages of docs/reference are what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from llm2llm.errors import ExitCode
from llm2llm_crdgen.reference import api_reference, endings_reference, metrics_reference
from llm2llm_operator.reasons import Reason

PAGES = Path(__file__).resolve().parents[4] / "docs" / "reference"
API = api_reference()


def cells(line: str) -> list[str]:
    """What a row of a Markdown table has between its bars; a bar after a backslash is text."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def row(field: str) -> list[str]:
    """Type, default and marks of a field in api.md."""
    [found] = [cells(line) for line in API.splitlines() if line.startswith(f"| `{field}` |")]
    return found[1:4]


def test_the_committed_page_is_what_the_module_generates():
    assert (PAGES / "metrics.md").read_text() == metrics_reference()


def test_the_committed_page_of_fields_is_what_the_models_say():
    assert (PAGES / "api.md").read_text() == API


def test_the_committed_page_of_endings_is_what_the_tables_say():
    assert (PAGES / "endings.md").read_text() == endings_reference()


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param("spec.suspend", ["boolean", "`false`", ""], id="a boolean as YAML has it"),
        pytest.param("spec.maxIterations", ["integer, 1 to 64", "`10`", ""], id="both bounds"),
        pytest.param(
            "spec.randomSeed", ["integer, 0 to 2147483647", "`0`", "identity"], id="a default of zero is told"
        ),
        pytest.param(
            "spec.startFrom",
            ["`BaseModel` \\| `PreviousIteration`", "`BaseModel`", "identity"],
            id="the words of an enum",
        ),
        pytest.param("spec.task", ["object", "", "required, identity"], id="a block that may not be missing"),
        pytest.param("spec.task.labels", ["list of string, at most 1000", "", "identity"], id="a field of an identity"),
        pytest.param(
            "spec.data.seed.fields",
            ["map of strings", "`prompt: prompt`, `completion: completion`", "identity"],
            id="each entry of a default map",
        ),
        pytest.param("spec.data.seed.region", ["string", "", ""], id="how a source is reached is operational"),
        pytest.param(
            "spec.earlyStopping.patience", ["integer, 3 to 64", "", "required"], id="needed in an optional block"
        ),
        pytest.param("spec.train.env[].value", ["string", "", ""], id="the fields of a list's entries"),
        pytest.param(
            "spec.train.tolerations[].effect",
            ['`""` \\| `NoSchedule` \\| `PreferNoSchedule` \\| `NoExecute`', "", ""],
            id="an empty word is visible",
        ),
    ],
)
def test_a_field_is_told_with_its_type_its_default_and_whether_it_may_change(field: str, expected: list[str]):
    assert row(field) == expected


def test_a_number_without_an_upper_bound_says_what_it_is_at_least():
    [told] = [cells(line) for line in API.splitlines() if line.startswith("| `status.activeSeconds` |")]
    assert told[1] == "integer, at least 0"


@pytest.mark.parametrize("page", [API, metrics_reference(), endings_reference()], ids=["api", "metrics", "endings"])
def test_each_row_of_a_table_has_as_many_cells_as_its_head(page: str):
    width = 0
    for line in page.splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        width = width or len(cells(line))
        assert len(cells(line)) == width, line
    assert page.endswith("|\n")


def test_each_metric_is_listed_under_the_name_that_a_scrape_shows():
    listed = set(re.findall(r"^\| `(llm2llm_\w+)`", metrics_reference(), re.MULTILINE))
    scraped = re.findall(
        r"^# TYPE (llm2llm_\w+) (?:counter|gauge|histogram)$", generate_latest().decode(), re.MULTILINE
    )
    assert {name for name in scraped if not name.endswith("_created")} == listed


def test_each_exit_code_of_a_step_and_each_reason_has_a_row():
    rows = [cells(line) for line in endings_reference().splitlines() if line.startswith("|")]
    assert {int(code) for cell, *_ in rows for code in re.findall(r"\b\d+\b", cell)} == set(ExitCode)
    assert {cell.strip("`") for cell, *_ in rows} >= set(Reason)

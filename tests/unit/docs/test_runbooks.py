"""Each alert of the chart has its page, and asks for metrics, labels, and reasons that exist."""

from __future__ import annotations

import re

import pytest
from tests.support.promql import RUNBOOKS, TARGET, alerts, exported, fenced, groupings, selectors

from llm2llm_operator.decide.policies.waiting import KNOWN_WAITS
from llm2llm_operator.observability.metrics import PHASES, WAITS
from llm2llm_operator.reasons import About, Reason

ALERTS = alerts()
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md")}
OVERVIEW = (RUNBOOKS.parent / "observability.md").read_text(encoding="utf-8")
HEADINGS = ["What it means", "What users notice", "How to look", "What to do"]
NOT_OURS = {"up"}
OF_THE_CLUSTER = KNOWN_WAITS | {"FailedMount"}
VALUES: dict[tuple[str, str], set[str]] = {
    ("llm2llm_runs", "phase"): set(PHASES),
    ("llm2llm_runs_held", "reason"): {each.value for each in Reason if About.SUSPENDED in each.about},
    ("llm2llm_runs_waiting", "reason"): {each.value for each in Reason if About.PROGRESSING in each.about},
    ("llm2llm_runs_ended_total", "condition"): {"Complete", "Failed"},
    ("llm2llm_step_wait_seconds_bucket", "state"): set(WAITS),
    ("llm2llm_step_wait_seconds_count", "state"): set(WAITS),
    ("llm2llm_api_writes_total", "kind"): {"status", "create", "delete", "event", "lease"},
    ("llm2llm_reconciles_total", "result"): {"ok", "conflict", "gone", "not-leading", "unavailable", "error"},
    ("llm2llm_api_errors_total", "code"): {"404", "409"},
}
"""What a query may compare a label with: a value that never occurs would be an alert that never fires."""


def test_each_alert_has_a_page_and_each_page_an_alert():
    assert set(PAGES) == set(ALERTS)


def test_the_overview_has_each_alert_with_its_severity():
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", OVERVIEW, re.MULTILINE)
    assert dict(rows) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on(name: str):
    rule = ALERTS[name]
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].rstrip().endswith(".")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_asks_for_metrics_and_labels_that_exist(name: str):
    check(ALERTS[name]["expr"])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_names_only_labels_that_it_has(name: str):
    rule = ALERTS[name]
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert named <= groupings(rule["expr"]) - {"le"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_parts_that_whoever_is_paged_looks_for(name: str):
    assert PAGES[name].startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", PAGES[name], re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("page", [OVERVIEW, *PAGES.values()], ids=["overview", *PAGES])
def test_the_queries_of_a_page_ask_for_metrics_and_labels_that_exist(page: str):
    for query in fenced(page, "promql"):
        check(query)


@pytest.mark.parametrize("name", ["LLM2LLMRunsStuck", "LLM2LLMRunsHeld", "LLM2LLMRunsFail"])
def test_a_page_explains_reasons_that_exist(name: str):
    first = re.findall(r"^\| ([A-Z][\w, ]+) \|", PAGES[name], re.MULTILINE)
    named = {reason for cell in first for reason in cell.split(", ")}
    assert named
    assert named <= {each.value for each in Reason} | OF_THE_CLUSTER


def check(query: str) -> None:
    """Asserts that everything that a query names exists."""
    known = exported()
    found = list(selectors(query))
    assert found or any(name in query for name in NOT_OURS)
    for selector in found:
        assert selector.metric in known or selector.metric.startswith("process_"), selector
        labels = known.get(selector.metric, set()) | TARGET
        assert {label for label, _, _ in selector.matchers} | groupings(query) <= labels, selector
        for label, _, value in selector.matchers:
            assert set(value.split("|")) <= VALUES[selector.metric, label], selector

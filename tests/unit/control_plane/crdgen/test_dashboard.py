"""The dashboard: what is committed, what Grafana needs of it, and that it asks for metrics that exist."""

from __future__ import annotations

import itertools
import json

import pytest
from tests.support.install import CHART
from tests.support.promql import TARGET, exported, groupings, panels, selectors

from llm2llm_crdgen.dashboard import COLUMNS, ROWS, dashboard

DASHBOARD = dashboard()
QUERIES = [
    pytest.param(query, id=f"{title}: {legend}")
    for title, queries in panels().items()
    for legend, query in queries.items()
]


def test_the_committed_dashboard_is_what_the_module_generates():
    assert json.loads((CHART / "files" / "dashboard.json").read_text()) == DASHBOARD


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_each_panel_has_a_title_of_its_own_and_says_what_it_shows():
    everything = [panel for row in ROWS.values() for panel in row]
    assert len(everything) == len({panel.title for panel in everything})
    assert all(panel.description.endswith(".") for panel in everything)


def test_who_imports_it_chooses_the_data_source_the_installation_and_the_namespace():
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "namespace"]
    assert variables["datasource"]["type"] == "datasource"
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_exist_and_only_of_the_chosen_installation(query: str):
    known, found = exported(), list(selectors(query))
    assert found
    for selector in found:
        assert selector.metric in known or selector.metric.startswith("process_")
        labels = known.get(selector.metric, set()) | TARGET
        assert {label for label, _, _ in selector.matchers} | groupings(query) <= labels
        assert ("job", "=~", "$job") in selector.matchers


def test_the_labels_in_a_legend_are_those_that_the_query_leaves():
    for queries in panels().values():
        for legend, query in queries.items():
            assert {word[2:-2] for word in legend.split() if word.startswith("{{")} == groupings(query) - {"le"}

"""Which metrics and labels a query of Prometheus names, and which the operator has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.metrics import MetricWrapperBase

from llm2llm_crdgen.dashboard import dashboard
from llm2llm_operator.observability import metrics
from tests.support.install import CHART

ALERTS = CHART / "files" / "alerts.yaml"
RUNBOOKS = CHART.parents[1] / "docs" / "runbooks"
TARGET = {"namespace", "job", "pod", "instance"}
"""Labels that Prometheus gives each sample of a pod."""


class Selector(NamedTuple):
    """A metric in a query, with its matchers: label, operator and value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return self.metric + "{" + ", ".join(f'{label}{sign}"{value}"' for label, sign, value in self.matchers) + "}"


def selectors(query: str) -> Iterator[Selector]:
    """Yields what a query selects."""
    for metric, matchers in re.findall(r"\b((?:llm2llm|process)_\w+)(?:\{([^}]*)\})?", query):
        yield Selector(metric, tuple(re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers)))


def groupings(query: str) -> set[str]:
    """Labels that a query groups or joins by."""
    return {label.strip() for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in labels.split(",")}


def exported() -> dict[str, set[str]]:
    """Each series that the operator exports, with its labels."""
    found: dict[str, set[str]] = {
        name: {label} for name, _, label in (metrics.RUNS, metrics.RUNS_HELD, metrics.RUNS_WAITING)
    }
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        [family] = metric.describe()
        labels = set(metric._labelnames)
        if family.type == "histogram":
            found |= {f"{family.name}_bucket": labels | {"le"}}
            found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = labels
    return found


def alerts(path: Path = ALERTS) -> dict[str, dict[str, Any]]:
    """The alerts of the chart by their names."""
    groups = yaml.safe_load(path.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def fenced(page: str, language: str) -> list[str]:
    """The lines of a page's blocks of this language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def panels() -> dict[str, dict[str, str]]:
    """The queries of the dashboard: title of the panel, legend, query."""
    return {
        panel["title"]: {target["legendFormat"]: target["expr"] for target in panel["targets"]}
        for panel in dashboard()["panels"]
        if panel["type"] != "row"
    }

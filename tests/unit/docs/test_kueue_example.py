"""The priorities of the example for Kueue."""

from __future__ import annotations

from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "kueue"
WITHOUT_A_CLASS = 0
"""Kueue's priority of a Workload whose Job names no class."""


def test_the_class_of_the_example_run_gives_way_also_to_what_has_none():
    classes = {
        document["metadata"]["name"]: document["value"]
        for document in yaml.safe_load_all((FOLDER / "queues.yaml").read_text())
        if document["kind"] == "WorkloadPriorityClass"
    }
    run = yaml.safe_load((FOLDER / "run.yaml").read_text())
    assert classes[run["spec"]["scheduling"]["workloadPriorityClassName"]] < WITHOUT_A_CLASS

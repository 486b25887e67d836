"""Which runs a command line names; tests/unit/results/test_verify.py has more of the ways to name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.steps import commit_step, step_of

from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.records import Stage
from llm2llm.results.targets import named_runs, the_run
from llm2llm.storage import LocalStore


def run_in(folder: Path, name: str) -> LocalStore:
    """A local run that is prepared."""
    store = LocalStore(folder / "default" / name)
    store.write(RECORD, RunRecord(name=name, namespace="team", uid="u", spec=builders.spec()).to_json().encode())
    commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": b""})
    return store


def run_file(folder: Path, root: Path, **changes: Any) -> Path:
    """A run of a cluster, as kubectl prints it."""
    document = {
        "apiVersion": "llm2llm.dev/v1alpha1",
        "kind": "AugmentationRun",
        "metadata": {"name": "far", "namespace": "ml"},
        "spec": builders.spec(),
        "status": {"artifactsUri": root.as_uri(), "phase": "Succeeded"},
    }
    path = folder / "far.json"
    path.write_text(json.dumps(document | changes))
    return path


def test_a_folder_names_the_run_in_it(tmp_path: Path):
    run_in(tmp_path, "keyword")
    view = the_run(str(tmp_path), "", {}).view()
    assert (view.namespace, view.run, view.spec.max_iterations) == ("team", "keyword", 2)


def test_a_file_names_a_run_of_a_cluster_whose_store_has_no_record(tmp_path: Path):
    commit_step(LocalStore(tmp_path / "root"), step_of(Stage.PREPARE), {"seed.jsonl": b""})
    run = the_run(str(run_file(tmp_path, tmp_path / "root")), "", {})
    view = run.view()
    assert (run.title, view.namespace, view.run, view.stage) == ("far", "ml", "far", Stage.TEST)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": [1]}, "spec must be a mapping"),
        ({"spec": "x"}, "spec must be a mapping"),
        ({"spec": {"artifacts": [1]}}, "spec.artifacts must be a mapping"),
        ({"spec": {"artifacts": {"endpoint": 5}}}, "spec.artifacts.endpoint: Input should be a valid string"),
        ({"spec": {"artifacts": {"pathStyle": "maybe"}}}, "spec.artifacts.pathStyle: Input should be a valid boolean"),
        ({"metadata": "x"}, "metadata must be a mapping"),
        ({"status": [1]}, "status must be a mapping"),
        ({"status": {"artifactsUri": 7}}, "status.artifactsUri must be a string"),
        ({"status": {"artifactsUri": ["s3://b"]}}, "status.artifactsUri must be a string"),
        ({"status": {"artifactsUri": "file:///x", "best": [1]}}, "status.best must be a mapping"),
        ({"status": None}, "has no status.artifactsUri"),
    ],
)
def test_an_object_of_another_form_is_told_with_its_place(tmp_path: Path, changes: dict[str, Any], words: str):
    path = run_file(tmp_path, tmp_path, **changes)
    with pytest.raises(ConfigurationError) as refused:
        the_run(str(path), "", {})
    assert refused.value.message.startswith(str(path))
    assert words in refused.value.message


def test_of_several_runs_one_has_to_be_named(tmp_path: Path):
    for name in ("one", "two"):
        run_in(tmp_path, name)
    assert len(list(named_runs(str(tmp_path), "", {}))) == 2
    with pytest.raises(ConfigurationError, match=r"has 2 runs: name one of .*/default/one, .*/default/two"):
        the_run(str(tmp_path), "", {})


def test_where_there_is_no_run_the_ways_to_name_one_are_told(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"found no run: name a work folder \(--workdir\)"):
        the_run(str(tmp_path), "", {})


def test_a_root_without_a_record_asks_for_the_runs_file(tmp_path: Path):
    commit_step(LocalStore(tmp_path), step_of(Stage.PREPARE), {"seed.jsonl": b""})
    with pytest.raises(ConfigurationError, match=r"kubectl get arun NAME -o yaml > NAME\.yaml"):
        the_run(str(tmp_path), "", {}).view()


def test_a_record_that_cannot_be_read_is_damaged_and_a_spec_a_mistake(tmp_path: Path):
    run_in(tmp_path, "keyword").write(RECORD, b"{}")
    with pytest.raises(IncompatibleArtifacts, match=r"run\.json cannot be read"):
        the_run(str(tmp_path), "", {}).view()
    run_in(tmp_path / "other", "far")
    run_file(tmp_path, tmp_path / "other/default/far", spec=builders.spec(task={"promptTemplate": ["hush"]}))
    with pytest.raises(ConfigurationError, match=r"cannot be read: task\.promptTemplate: Input should be") as refused:
        the_run(str(tmp_path / "far.json"), "", {}).view()
    assert "hush" not in refused.value.message

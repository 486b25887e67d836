"""What the API server and the local runner refuse, and with which words: both, of the same files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.platform import Platform

Change = Callable[[dict[str, Any]], None]


def rename(name: str) -> Change:
    return lambda document: document["metadata"].update(name=name)


def set_spec(**fields: Any) -> Change:
    return lambda document: document["spec"].update(fields)


def remove_student(document: dict[str, Any]) -> None:
    del document["spec"]["student"]


def empty_labels(document: dict[str, Any]) -> None:
    document["spec"]["task"]["labels"] = []


REFUSED = [
    pytest.param(set_spec(maxIterations=0), "spec.maxIterations", id="no iteration at all"),
    pytest.param(set_spec(maxIterations=65), "spec.maxIterations", id="more than 64 iterations"),
    pytest.param(set_spec(learningRate="1e-3"), "spec.learningRate", id="an unknown field"),
    pytest.param(remove_student, "spec.student", id="no student"),
    pytest.param(rename("a" * 41), "metadata.name", id="a name of 41 characters"),
    pytest.param(rename("a.b"), "metadata.name", id="a name with a dot"),
    pytest.param(empty_labels, "spec.task.labels", id="Choice without labels"),
    pytest.param(set_spec(train={"lora": {"r": 0}}), "spec.train.lora.r", id="a rank of zero"),
]


@pytest.mark.parametrize(("change", "path"), REFUSED)
def test_the_api_server_refuses_at_apply_and_names_the_path(platform: Platform, team: str, change: Change, path: str):
    document = platform.manifest()
    change(document)
    with pytest.raises(RuntimeError) as refusal:
        platform.apply(team, document, "--validate=strict")
    assert path.removeprefix("metadata.") in str(refusal.value)


@pytest.mark.parametrize(("change", "path"), REFUSED)
def test_the_local_runner_refuses_the_same_files(
    platform: Platform, change: Change, path: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
):
    from llm2llm.cli import main

    document = platform.manifest()
    change(document)
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(document))
    assert main(["validate", str(file)]) == 64
    told = capsys.readouterr()
    assert path in told.out + told.err


@pytest.mark.parametrize(
    ("change", "path"),
    [
        pytest.param(
            lambda d: d["spec"]["student"]["model"].update(uri="s3://other/model"), "student", id="changed student"
        ),
        pytest.param(remove_student, "student", id="removed student"),
        pytest.param(set_spec(randomSeed=7), "randomSeed", id="changed seed"),
        pytest.param(lambda d: d["spec"]["train"]["lora"].update(r=4), "train.lora", id="changed rank"),
        pytest.param(lambda d: d["spec"]["data"].pop("evaluation"), "data", id="removed evaluation set"),
    ],
)
def test_what_defines_the_experiment_cannot_change_on_a_live_run(
    platform: Platform, team: str, change: Change, path: str
):
    document = platform.manifest(suspend=True)
    platform.apply(team, document)
    change(document)
    with pytest.raises(RuntimeError, match=f"spec.{path}"):
        platform.apply(team, document)


def test_what_is_operational_can_change_on_a_live_run(platform: Platform, team: str):
    document = platform.manifest(suspend=True)
    platform.apply(team, document)
    document["spec"] |= {"maxIterations": 9, "retry": 1, "retries": {"transient": 1}}
    document["spec"]["generate"]["teacher"]["baseUrl"] = "http://elsewhere/v1"
    assert "configured" in platform.apply(team, document)


def test_applying_twice_with_server_side_apply_gives_no_difference(platform: Platform, team: str):
    document = platform.manifest(suspend=True)
    platform.apply(team, document, "--server-side")
    before = platform.run(team)["metadata"]["generation"]
    platform.apply(team, document, "--server-side")
    assert platform.run(team)["metadata"]["generation"] == before


def test_explain_reads_like_documentation(platform: Platform):
    text = platform.cluster.kubectl("explain", "arun.spec.train.lora")
    assert "Rank." in text
    assert "all-linear" in text

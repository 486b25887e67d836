"""What only this machine can check of a valid run: its template, its pattern, its mapping, its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.manifests.checks import local_problems, uris_of


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**changes))


def seed(uri: str = "s3://b/seed.jsonl", **fields: str) -> dict[str, Any]:
    return {"seed": {"uri": uri, "fields": fields or {"prompt": "q", "completion": "a"}}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({}, [], id="nothing is wrong"),
        pytest.param({"task": {"promptTemplate": "{{ prompt"}}, ["spec.task.promptTemplate: "], id="no template"),
        pytest.param(
            {"task": {"promptTemplate": "{{ text }}"}},
            ["spec.task.promptTemplate: 'text' is not a field of the row (the fields are 'prompt')"],
            id="a field that no row has",
        ),
        pytest.param({"task": {"promptTemplate": "{{ text|default('') }}{{ prompt }}"}}, [], id="a field with a default"),
        pytest.param({"task": {"promptTemplate": "{{ 1 // (prompt|int) }}"}}, [], id="a template that fails on letters"),
        pytest.param(
            {"task": {"promptTemplate": "{{ prompt }}", "grader": {"type": "Regex", "pattern": "("}}},
            ["spec.task.grader.pattern is not a valid regular expression"],
            id="no pattern",
        ),
        pytest.param(
            {"data": seed(question="prompt", answer="completion")},
            [("spec.data.seed.fields: the names of the task stand on the left, and those of the file on the right: write "
             "{prompt: question, completion: answer}")],
            id="the fields the wrong way round, which is told alone",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work(changes: dict[str, Any], told: list[str]):
    found = list(local_problems(spec(**changes)))
    assert len(found) == len(told)
    assert all(problem.startswith(words) for problem, words in zip(found, told, strict=True)), found


def test_a_relative_path_is_told_with_the_absolute_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROWS", str(tmp_path / "rows"))
    changes = {
        "data": seed("file://$ROWS/seed.csv"),
        "student": {"model": {"uri": "file://model"}},
        "artifacts": {"uri": "file:///out"},
    }
    assert list(local_problems(spec(**changes))) == [
        f"spec.data.seed.uri: the path in file://$ROWS/seed.csv must be absolute: did you mean {tmp_path.as_uri()}/rows/seed.csv?",
        f"spec.student.model.uri: the path in file://model must be absolute: did you mean {tmp_path.as_uri()}/model?",
    ]


@pytest.mark.parametrize("path", ["~data/x", "~no such user", "$NONE/x", "\x00", "a" * 500])
def test_whatever_a_path_is_called_there_is_a_sentence(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    [problem] = local_problems(spec(student={"model": {"uri": f"file://{path}"}}))
    assert "must be absolute: did you mean file:///" in problem


def test_every_uri_of_a_run_is_looked_at():
    local = {"mode": "Local", "teacher": {"model": "t", "source": {"uri": "hf://o/t"}}}
    found = dict(uris_of(spec(generate=local, reuseFrom=[{"uri": "s3://b/old"}])))
    assert found["spec.generate.teacher.source.uri"] == "hf://o/t"
    assert found["spec.reuseFrom[0].uri"] == "s3://b/old"
    assert {"spec.data.seed.uri", "spec.student.model.uri", "spec.artifacts.uri"} <= found.keys()

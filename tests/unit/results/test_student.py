"""What a student's folder says about itself, and where a student is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.finished import finished_run

from llm2llm.errors import ConfigurationError
from llm2llm.local.record import RECORD
from llm2llm.results.fetch import fetch_student
from llm2llm.results.student import StudentRecord, find_student
from llm2llm.storage import LocalStore

TASK = {"promptTemplate": "{{ prompt }} =>", "labels": ["x", "y"], "grader": {"type": "Choice"}}


def work_folder(folder: Path, **changes: Any) -> Path:
    """A folder of `llm2llm run` with a finished run."""
    run = finished_run(folder, **changes)
    assert run.record
    LocalStore(folder).write(RECORD, run.record.to_json().encode())
    return folder


def test_the_folder_of_a_student_says_the_same_as_its_run(tmp_path: Path):
    out = work_folder(tmp_path / "run", task=TASK, evaluate={"sampling": {"maxTokens": 7}, "precision": "bf16"})
    of_run = find_student(str(out), None, "", {})
    assert of_run.run
    assert of_run.uri == f"{out.as_uri()}/iterations/001/train/data/pod-a/adapter"
    fetch_student(of_run.run, tmp_path / "student", None)
    of_folder = find_student(str(tmp_path / "student"), None, "", {})

    assert (of_folder.record, of_folder.rank) == (of_run.record, of_run.rank) == (of_run.record, 16)
    record = of_folder.record
    assert (record.run, record.namespace, record.iteration, record.part) == ("r", "ns", 1, "adapter")
    assert (record.model_uri, record.model_revision) == ("s3://b/model", "abc")
    assert (record.max_tokens, record.precision, record.quantization) == (7, "bf16", "none")
    task = record.graded_task()
    assert task.render({"prompt": "a"}) == "a =>"
    assert (task.extract(" X "), task.extract("z")) == ("x", None)


def test_another_iteration_is_found_in_a_run_alone(tmp_path: Path):
    out = work_folder(tmp_path / "run")
    assert find_student(str(out), 2, "", {}).record.iteration == 2
    run = find_student(str(out), None, "", {}).run
    assert run
    fetch_student(run, tmp_path / "student", None)
    with pytest.raises(ConfigurationError, match="is one student: --iteration is for a run"):
        find_student(str(tmp_path / "student"), 2, "", {})


def test_a_work_folder_may_have_a_file_of_that_name(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    work_folder(tmp_path / "runs")
    assert find_student(str(tmp_path), None, "", {}).run


@pytest.mark.parametrize(
    ("config", "mode", "chat"),
    [
        ({"chat_template": "{{ messages }}"}, "Auto", True),
        ({}, "Auto", False),
        ({"chat_template": "x"}, "Never", False),
    ],
)
def test_a_student_has_a_chat_template_if_its_tokenizer_has_and_the_task_uses_it(
    tmp_path: Path, config: dict[str, str], mode: str, chat: bool
):
    record = StudentRecord(
        run="r", namespace="n", iteration=0, digest="d", part="model", model_uri="hf://a/b",
        task={"promptTemplate": "{{ text }}", "chatTemplate": mode},
    )  # fmt: skip
    (tmp_path / "llm2llm.json").write_text(record.to_json())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert find_student(str(tmp_path), None, "", {}).chat is chat


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"adapter_config.json": "{}"}, r"has no llm2llm\.json, .* fetch it again with this release, or name its run"),
        ({"llm2llm.json": "{"}, "cannot be read: .*: fetch it again"),
        ({"llm2llm.json": "{}"}, "cannot be read: run: Field required"),
        ({"llm2llm.json": json.dumps({"part": "adapter", "run": "r", "namespace": "n", "iteration": 0, "digest": "d",
                                      "modelUri": "hf://a/b", "task": {"promptTemplate": 3}})},
         "cannot be read: promptTemplate: Input should be a valid string"),
        ({"llm2llm.json": json.dumps({"part": "adapter", "run": "r", "namespace": "n", "iteration": 0, "digest": "d",
                                      "modelUri": "hf://a/b", "task": {"promptTemplate": "{{ x }}"}})},
         r"has no adapter_config\.json"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_say_what_it_is_for_is_refused(tmp_path: Path, files: dict[str, str], words: str):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        find_student(str(tmp_path), None, "", {})

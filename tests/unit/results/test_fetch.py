"""What is brought out of a run's store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.finished import WEIGHTS, finished_run

from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.results.fetch import fetch_merged, fetch_student, training_rows, write_rows
from llm2llm.results.targets import NamedRun

FILES = [
    "README.md",
    "adapter_config.json", "adapter_model.safetensors", "llm2llm.json", "prompt_template.jinja", "tokenizer_config.json"
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> NamedRun:
    """A run of three iterations, of which the second is best; each round kept one row."""
    return finished_run(tmp_path / "store")


@pytest.mark.parametrize(("index", "expected"), [(None, b"1"), (2, b"2")])
def test_the_best_student_is_fetched_or_the_one_that_is_named(
    run: NamedRun, tmp_path: Path, index: int | None, expected: bytes
):
    digest = fetch_student(run, tmp_path / "out", index)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == WEIGHTS + expected
    assert digest.startswith("sha256:")


def test_an_adapter_of_a_quantized_base_is_never_merged(run: NamedRun, tmp_path: Path):
    assert run.record is not None
    spec = run.record.spec | {"train": {"method": "QLoRA"}}
    quantized = replace(run, record=run.record.model_copy(update={"spec": spec}))
    with pytest.raises(ConfigurationError, match=r"is never merged.*Fetch it without --merged"):
        fetch_merged(quantized, tmp_path / "out", None, "Auto", {})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_not_merged_into_and_no_base_is_fetched_for_it(run: NamedRun, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("x")
    with pytest.raises(ConfigurationError, match="exists and is not an empty folder"):
        fetch_merged(run, tmp_path / "out", None, "Auto", {})


def test_a_folder_with_files_is_left_as_it_is(run: NamedRun, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("x")
    with pytest.raises(ConfigurationError, match="exists and is not an empty folder"):
        fetch_student(run, tmp_path / "out", None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_weights_that_were_exchanged_are_not_fetched(run: NamedRun, tmp_path: Path):
    [path] = (tmp_path / "store/iterations/001/train").rglob("adapter_model.safetensors")
    path.write_bytes(WEIGHTS + b"9")
    for _ in range(2):
        with pytest.raises(IncompatibleArtifacts, match="is damaged"):
            fetch_student(run, tmp_path / "out", None)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_of_what_fails_nothing_is_left_in_a_folder_that_was_there(run: NamedRun, tmp_path: Path):
    (tmp_path / "out").mkdir()
    [path] = (tmp_path / "store/iterations/001/train").rglob("adapter_model.safetensors")
    path.write_bytes(WEIGHTS + b"9")
    with pytest.raises(IncompatibleArtifacts, match="is damaged"):
        fetch_student(run, tmp_path / "out", None)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "."])
def test_a_student_is_fetched_to_an_empty_folder_or_a_new_one(
    run: NamedRun, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    fetch_student(run, Path(name) if name else tmp_path / "out", None)
    assert sorted(path.name for path in (tmp_path / "out" / name).iterdir()) == FILES


@pytest.mark.parametrize("name", ["file/x", "file/x/y", "/proc/nope/x"])
def test_a_folder_that_there_cannot_be_is_told(run: NamedRun, tmp_path: Path, name: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"(Not a directory|No such file or directory): name another folder"):
        fetch_student(run, tmp_path / name, None)


def test_a_student_that_is_not_the_one_of_the_status_is_not_fetched(run: NamedRun, tmp_path: Path):
    status = {"best": {"iteration": 1, "digest": "sha256:another"}}
    document = {"metadata": {"name": "r"}, "spec": builders.spec(maxIterations=3), "status": status}
    with pytest.raises(IncompatibleArtifacts, match="it was exchanged"):
        fetch_student(NamedRun("run", run.store, document=document), tmp_path / "out", None)


@pytest.mark.parametrize(("index", "expected"), [(0, []), (None, ["n0"]), (2, ["n0", "n1"])])
def test_a_student_was_trained_on_the_seeds_and_the_rounds_before_it(
    run: NamedRun, index: int | None, expected: list[str]
):
    rows = list(training_rows(run, index))
    assert [row["id"] for row in rows] == ["s0", "s1", *expected]
    assert rows[0] == {"id": "s0", "prompt": "p", "completion": "x", "source": "seed"}
    assert all((row["source"], row["seed"]) == ("t", "s0") for row in rows[2:])


def test_rows_are_written_to_a_new_file_alone(run: NamedRun, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    assert write_rows(training_rows(run, None), path) == 3
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["s0", "s1", "n0"]
    with pytest.raises(ConfigurationError, match="exists: name another file"):
        write_rows(iter([]), path)
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        write_rows(iter([]), tmp_path / "none" / "rows.jsonl")


def test_rows_that_break_off_leave_no_file(tmp_path: Path):
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": "a"}
        raise IncompatibleArtifacts("damaged")

    with pytest.raises(IncompatibleArtifacts):
        write_rows(rows(), tmp_path / "rows.jsonl")
    assert list(tmp_path.iterdir()) == []

"""The user's files against what a run began with; tests/integration/local/test_sources.py has the command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.commit import upload
from llm2llm.data.sources import digest_of_content
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.local.sources import check_sources
from llm2llm.models.fetch import model_revision
from llm2llm.podenv import CONFIG_MAPS_FOLDER
from llm2llm.records import Manifest, Resolved, Stage, output_digest
from llm2llm.storage import LocalStore


class Begun:
    """A run over files in a folder, whose Prepare is committed."""

    def __init__(self, folder: Path, *, recorded: bool = True, **changes: Any) -> None:
        self.folder = folder
        self.environ = {CONFIG_MAPS_FOLDER: str(folder / "maps")}
        for name in ("seed.csv", "evaluation.jsonl", "maps/rows/test"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"rows of {name}")
        (folder / "model").mkdir()
        for name in ("config.json", "model.safetensors"):
            (folder / "model" / name).write_text(name)
        uris = {"seed": (folder / "seed.csv").as_uri(), "evaluation": (folder / "evaluation.jsonl").as_uri()}
        data = {name: {"uri": uri} for name, uri in uris.items()} | {"test": {"uri": "configmap://rows/test"}}
        student = {"model": {"uri": (folder / "model").as_uri()}}
        document = builders.spec(**({"data": data, "student": student} | changes))
        self.spec = AugmentationRunSpec.model_validate(document)
        self.store = LocalStore(folder / "run")
        files = {"seed": "seed.csv", "evaluation": "evaluation.jsonl", "test": "maps/rows/test"}
        digests = {name: digest_of_content((folder / file).read_bytes()) for name, file in files.items()}
        revision = (
            model_revision(self.spec, {}, store=self.store) if self.spec.student.model.uri.startswith("file") else "c0"
        )
        resolved = Resolved(model_revision=revision, sources=digests if recorded else None)
        self.resolved = resolved
        self.inputs = self.commit("seed.jsonl", b"{}")

    def commit(self, name: str, content: bytes) -> Manifest:
        """What Prepare has committed, with this file among it."""
        objects = (upload(self.store, f"inputs/data/pod/{name}", name, content),)
        digest = output_digest(objects)
        report = builders.report(Stage.PREPARE).model_copy(update={"resolved": self.resolved, "digest": digest})
        return Manifest(content_key="k", key_fields={}, parents={}, objects=objects, digest=digest, report=report)

    def check(self) -> list[str]:
        """What is told; raises as check_sources."""
        said: list[str] = []
        check_sources(self.spec, self.inputs, self.store, self.environ, said.append)
        return said


def edit(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).write_text("something else")

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(edit("seed.csv"), r"seed\.csv \(spec\.data\.seed\) has changed .*: restore it, or", id="seed"),
        pytest.param(edit("evaluation.jsonl"), r"\(spec\.data\.evaluation\) has changed", id="evaluation"),
        pytest.param(edit("maps/rows/test"), r"^configmap://rows/test \(spec\.data\.test\) has", id="a ConfigMap"),
        pytest.param(edit("model/config.json"), r"/model \(spec\.student\.model\) has changed", id="a model's file"),
        pytest.param(edit("model/more.json"), r"/model \(spec\.student\.model\) has changed", id="a file more"),
        pytest.param(
            lambda folder: (folder / "model" / "model.safetensors").rename(folder / "model" / "other.safetensors"),
            r"\(spec\.student\.model\) has changed",
            id="another name",
        ),
        pytest.param(
            edit("seed.csv", "model/config.json"),
            r"seed\.csv \(spec\.data\.seed\) and file.*/model \(spec\.student\.model\) have changed .*: restore them, or",
            id="several",
        ),
    ],
)
def test_what_has_changed_is_named_with_what_to_do(tmp_path: Path, change: Callable[[Path], None], told: str) -> None:
    begun = Begun(tmp_path)
    assert begun.check() == []
    change(tmp_path)
    with pytest.raises(IncompatibleArtifacts, match=told) as error:
        begun.check()
    assert f"another --workdir with spec.reuseFrom: [{{uri: {begun.store.uri}}}]" in error.value.message


def test_a_file_that_was_touched_or_copied_back_is_the_same(tmp_path: Path) -> None:
    begun = Begun(tmp_path)
    for path in list(tmp_path.rglob("*")):
        os.utime(path, (1, 1))
    assert begun.check() == []
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "copy").rename(tmp_path / "model")
    assert begun.check() == []


def test_what_is_gone_is_told_in_one_line_and_no_error(tmp_path: Path) -> None:
    begun = Begun(tmp_path)
    (tmp_path / "seed.csv").unlink()
    shutil.rmtree(tmp_path / "model")
    begun.environ.pop(CONFIG_MAPS_FOLDER)
    [said] = begun.check()
    assert said.startswith("not compared with what this run began with, because it cannot be read: spec.data.seed: ")
    assert "seed.csv does not exist" in said
    assert "spec.data.test: configmap://rows/test" in said
    assert "spec.student.model: " in said
    assert "\n" not in said


def test_what_is_gone_does_not_hide_what_has_changed(tmp_path: Path) -> None:
    begun = Begun(tmp_path)
    (tmp_path / "seed.csv").unlink()
    edit("evaluation.jsonl")(tmp_path)
    with pytest.raises(IncompatibleArtifacts, match=r"^file\S*evaluation\.jsonl \(spec\.data\.evaluation\) has"):
        begun.check()


def test_a_run_of_an_earlier_release_did_not_record_its_rows(tmp_path: Path) -> None:
    begun = Begun(tmp_path, recorded=False)
    edit("seed.csv")(tmp_path)
    assert begun.check() == []
    edit("model/config.json")(tmp_path)
    with pytest.raises(IncompatibleArtifacts, match=r"\(spec\.student\.model\) has changed"):
        begun.check()


def test_what_is_on_the_hub_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub = {"uri": "hf://owner/dataset/seed.jsonl"}
    begun = Begun(tmp_path, data={"seed": hub}, student={"model": {"uri": "hf://owner/model"}})
    assert begun.check() == []


def test_a_set_that_is_held_out_of_another_has_no_file(tmp_path: Path) -> None:
    seed = {"uri": (tmp_path / "seed.csv").as_uri()}
    begun = Begun(tmp_path, data={"seed": seed, "evaluation": {"fromSeed": {"fraction": "0.2"}}})
    assert begun.check() == []


def test_a_local_teachers_model_is_compared_too(tmp_path: Path) -> None:
    source = {"uri": (tmp_path / "model").as_uri()}
    teacher = {"model": "t", "source": source}
    begun = Begun(
        tmp_path, generate={"mode": "Local", "teacher": teacher, "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    )
    revision = begun.resolved.model_revision
    begun.inputs = begun.commit("teacher.json", json.dumps({"revision": revision}).encode())
    assert begun.check() == []
    edit("model/config.json")(tmp_path)
    with pytest.raises(IncompatibleArtifacts, match=r"\(spec\.generate\.teacher\.source\) have changed"):
        begun.check()

"""`llm2llm push`, from a run to a Hub over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.finished import finished_run
from tests.support.hub import TOKEN, Hub

from llm2llm.cli.main import main
from llm2llm.local.record import RECORD

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's own upload


@pytest.fixture
def out(tmp_path: Path) -> str:
    run = finished_run(tmp_path / "run")
    assert run.record
    run.store.write(RECORD, run.record.to_json().encode())
    return str(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "kind", "files"),
    [
        ([], "model", {"README.md", "adapter_config.json", "adapter_model.safetensors", "llm2llm.json",
                       "prompt_template.jinja", "tokenizer_config.json"}),
        (["--dataset"], "dataset", {"README.md", "llm2llm.json", "train.jsonl"}),
    ],
)  # fmt: skip
def test_the_hub_gets_what_a_dry_run_writes(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], kind: str, files: set[str]
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        command = ["push", out, "hf://team/it", *options]
        assert main([*command, "--dry-run", str(tmp_path / "dry")]) == 0
        assert not hub.requests
        assert main([*command, "--public"]) == 0
        repo = hub.repos[kind, "team/it"]
    assert not repo.private
    assert repo.files == {path.name: path.read_bytes() for path in (tmp_path / "dry").iterdir()}
    assert set(repo.files) == files
    assert repo.messages[0].startswith("r, iteration 1 (sha256:")


def test_a_folder_that_fetch_wrote_is_pushed_as_it_is(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    student = tmp_path / "student"
    assert main(["fetch", out, str(student)]) == 0
    (student / "README.md").write_text("---\nlicense: mit\n---\nby hand")
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert main(["push", str(student), "hf://team/it"]) == 0
        assert hub.repos["model", "team/it"].files["README.md"].endswith(b"by hand")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["oci://ghcr.io/a/b"], "oras push ghcr.io/a/b ."),
        (["somewhere"], "expected hf://owner/name"),
        (["hf://a/b", "--merged", "--dataset"], "leave one out"),
    ],
)
def test_what_cannot_be_pushed_is_refused(
    out: str, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["push", out, *options]) == 64
    assert words in capsys.readouterr().err
    assert main(["fetch", out, str(tmp_path / "student")]) == 0
    assert main(["push", str(tmp_path / "student"), "hf://a/b", "--dataset"]) == 64
    assert "is a folder that is pushed as it is: --dataset is for a run" in capsys.readouterr().err


def test_the_folder_for_a_registry_of_containers_is_written(out: str, tmp_path: Path):
    assert main(["push", out, "oci://ghcr.io/a/b:1", "--dry-run", str(tmp_path / "dry")]) == 0
    assert (tmp_path / "dry" / "adapter_model.safetensors").exists()

"""What `llm2llm verify` reads: roots, work folders, model caches, and runs with their status."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.steps import commit_step, step_of

from llm2llm.errors import ConfigurationError, InvalidManifest
from llm2llm.models.cache import keep
from llm2llm.records import Stage
from llm2llm.results.verify import verify_target
from llm2llm.storage import LocalStore

Output = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a run in a work folder."""
    root = tmp_path / "work/default/keyword-1"
    store = LocalStore(root)
    commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": b"rows"})
    commit_step(store, step_of(Stage.TRAIN), {"adapter/adapter_model.safetensors": b"weights"})
    store.write("run.json", b"{}")
    return root


def digest(root: Path, folder: str) -> str:
    return str(json.loads((root / folder / "manifest.json").read_bytes())["digest"])


def run_file(root: Path, folder: Path, **status: Any) -> Path:
    """The run as `kubectl get arun -o json` prints it."""
    step = {"stage": "Train", "outcome": "Succeeded", "attempt": 1, "digest": digest(root, "iterations/000/train")}
    failed = {"stage": "Train", "outcome": "Failed", "attempt": 0}
    document = {
        "apiVersion": "llm2llm.dev/v1alpha1",
        "kind": "AugmentationRun",
        "metadata": {"name": "keyword"},
        "spec": {"artifacts": {"uri": "s3://elsewhere/runs", "region": "eu-central-1"}},
        "status": {
            "artifactsUri": root.as_uri(),
            "inputsDigest": digest(root, "inputs"),
            "iterations": [{"index": 0, "steps": [failed, step]}],
            **status,
        },
    }
    path = folder / "run.json"
    path.write_text(json.dumps(document))
    return path


def test_a_work_folder_a_root_and_an_address_are_read_alike(root: Path, tmp_path: Path, capsys: Output):
    work = tmp_path / "work"
    for target in (
        str(tmp_path),
        str(work),
        str(work / "default"),
        work.as_uri(),
        str(root),
        root.as_uri(),
        f"{root.as_uri()}/",
    ):
        assert verify_target(target, "", os.environ) == 0
        printed = capsys.readouterr()
        assert "iterations/000/train: 1 objects, 0.0 MB, sha256:" in printed.out
        assert printed.out.endswith("2 steps and 0 models read, 0 problems\n")
        assert printed.err == ""


def test_what_was_changed_is_told_and_ends_with_70(root: Path, capsys: Output):
    (root / "iterations/000/train/data/pod-a/adapter/adapter_model.safetensors").write_bytes(b"poison!")
    assert verify_target(str(root), "", {}) == 70
    printed = capsys.readouterr()
    assert printed.err.startswith("iterations/000/train: file://")
    assert "is damaged or was changed" in printed.err
    assert printed.out.endswith("2 steps and 0 models read, 1 problems\n")


def test_a_run_with_its_status_is_compared_with_it(root: Path, tmp_path: Path, capsys: Output):
    assert verify_target(str(run_file(root, tmp_path)), "", {}) == 0
    best = {"iteration": 0, "digest": "sha256:of-the-status"}
    assert verify_target(str(run_file(root, tmp_path, best=best)), "", {}) == 70
    assert "but the run's status says sha256:of-the-status" in capsys.readouterr().err
    assert verify_target(str(run_file(root, tmp_path, inputsDigest="sha256:other")), "", {}) == 70
    rows = [{"index": 3, "steps": [{"stage": "Evaluate", "outcome": "Succeeded", "digest": "sha256:x"}]}]
    assert verify_target(str(run_file(root, tmp_path, iterations=rows)), "", {}) == 70
    assert "iterations/003/evaluate/manifest.json is missing" in capsys.readouterr().err


def test_a_model_cache_is_hashed_again(tmp_path: Path, capsys: Output):
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched/config.json").write_text("{}")
    kept = keep(tmp_path / "fetched", tmp_path / "cache/0123")
    assert verify_target(str(tmp_path / "cache"), "", {}) == 0
    assert "0123: as it was when the cache was filled" in capsys.readouterr().out
    (kept / "config.json").write_text("[]")
    assert verify_target(str(tmp_path / "cache"), "", {}) == 70


@pytest.mark.parametrize("status", [{"artifactsUri": ""}, {"iterations": [{"steps": [{"outcome": "Succeeded"}]}]},
                                    {"iterations": 5}, {"best": {"digest": "x"}}])  # fmt: skip
def test_a_status_that_cannot_be_read_is_told(root: Path, tmp_path: Path, status: dict[str, Any]):
    with pytest.raises(ConfigurationError, match=r"run\.json: the run"):
        verify_target(str(run_file(root, tmp_path, **status)), "", {})


def test_where_nothing_is_committed_there_is_nothing_to_verify(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="found no committed step"):
        verify_target(str(tmp_path), "", {})
    with pytest.raises(InvalidManifest, match="no such file or folder"):
        verify_target(str(tmp_path / "none.yaml"), "", {})
    with pytest.raises(ConfigurationError, match="expected s3://bucket"):
        verify_target("ftp://host/run", "", {})

"""Base models from the hub's API: a small server that speaks it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.cluster.processes import free_port
from tests.support import keyword, pauses

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import AuthenticationError, ConfigurationError, DataError, StepError, Transient
from llm2llm.models.fetch import fetch_model, find_weight_problems, model_revision, read_dataset_file

COMMIT = "a" * 40
MODEL = "/api/models/team/student"


@dataclass
class Hub:
    """What the server serves and whom."""

    files: dict[str, bytes]
    token: str = ""
    status: int = 200
    tells_sizes: bool = True
    served: list[str] = field(default_factory=list)

    def answer(self, path: str, authorization: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers for a request."""
        if self.status != 200:
            return self.status, b"{}", {}
        if self.token and authorization != f"Bearer {self.token}":
            return 401, b"{}", {"X-Error-Code": "GatedRepo"}
        if path in (f"{MODEL}/revision/{COMMIT}", f"{MODEL}/revision/main"):
            names = [
                {"rfilename": name, **({"size": len(content)} if self.tells_sizes else {})}
                for name, content in self.files.items()
            ]
            return 200, json.dumps({"id": "team/student", "sha": COMMIT, "siblings": names}).encode(), {}
        if path == f"{MODEL}/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": "b" * 40}
                for name, content in self.files.items()
            ]
            return 200, json.dumps(entries).encode(), {}
        if path.startswith("/datasets/team/rows/resolve/"):
            return self.row_file(path.removeprefix("/datasets/team/rows/resolve/"))
        name = path.removeprefix(f"/team/student/resolve/{COMMIT}/")
        if name in self.files:
            etag = f'"{hashlib.sha256(self.files[name]).hexdigest()}"'
            return 200, self.files[name], {"ETag": etag, "X-Repo-Commit": COMMIT}
        return 404, b"{}", {"X-Error-Code": "RepoNotFound"}

    def row_file(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        revision, _, name = path.partition("/")
        if revision not in ("main", "v2", COMMIT):
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        if name not in self.files:
            return 404, b"{}", {"X-Error-Code": "EntryNotFound"}
        content = self.files[name] + revision.encode()
        return 200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.served.append(path.rpartition("/")[2])
            self.wfile.write(self.headed(path))

        def do_HEAD(self) -> None:
            self.headed(self.path.partition("?")[0])

        def headed(self, path: str) -> bytes:
            status, content, headers = hub.answer(path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    return Handler


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses.leave_out(monkeypatch, pauses.OF_THE_HUB)


@pytest.fixture
def hub(student: Path) -> Hub:
    return Hub({path.name: path.read_bytes() for path in student.iterdir()})


@pytest.fixture
def environ(hub: Hub, tmp_path: Path) -> Iterator[dict[str, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(hub)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_CACHE": str(tmp_path / "hub")}
        server.shutdown()


def spec(model_uri: str) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(
        keyword.spec(seed_uri="file:///s", evaluation_uri="file:///e", model_uri=model_uri, artifacts_uri="file:///a")
    )


STUDENT = spec("hf://team/student")


def test_a_branch_of_the_hub_is_resolved_to_its_commit_and_fetched(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    revision = model_revision(STUDENT, environ)
    folder = fetch_model(STUDENT, revision, environ, tmp_path)

    assert revision == COMMIT
    assert {name: (folder / name).read_bytes() for name in hub.files} == hub.files


def test_without_weights_only_tokenizer_and_config_are_fetched(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    fetch_model(STUDENT, COMMIT, environ, tmp_path, weights=False)

    assert "tokenizer.json" in hub.served
    assert "model.safetensors" not in hub.served


def test_a_model_with_other_weights_alone_is_refused_before_anything_is_fetched(
    hub: Hub, environ: dict[str, str]
) -> None:
    hub.files["pytorch_model.bin"] = hub.files["onnx/model.safetensors"] = hub.files.pop("model.safetensors")

    with pytest.raises(ConfigurationError, match=r"hf://team/student has no \*\.safetensors weights") as caught:
        model_revision(STUDENT, environ)
    assert "safe_serialization=True" in caught.value.message
    assert "spec.student.model.revision" in caught.value.message


def test_a_gated_model_is_told_with_the_field_of_its_token(hub: Hub, environ: dict[str, str]) -> None:
    hub.token = "hf_secret"

    with pytest.raises(AuthenticationError, match=r"spec\.student\.tokenSecretRef"):
        model_revision(STUDENT, environ)
    assert model_revision(STUDENT, environ | {"HF_TOKEN": "hf_secret"}) == COMMIT


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        pytest.param("hf://team/nobody", "does not exist", id="no such model"),
        pytest.param("hf://a/b/c", "check spec.student.model", id="no name of a model"),
    ],
)
def test_a_model_that_is_not_there_is_a_mistake_in_the_spec(uri: str, words: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=words):
        model_revision(spec(uri), environ)


def test_a_hub_that_fails_or_is_away_is_transient(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    hub.status = 500
    with pytest.raises(Transient):
        model_revision(STUDENT, environ)
    away = environ | {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(Transient):
        model_revision(STUDENT, away)
    with pytest.raises(Transient):
        fetch_model(STUDENT, COMMIT, away, tmp_path)


def test_a_model_in_the_cache_is_fetched_once_and_serves_when_the_hub_is_away(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    cached = environ | {"LLM2LLM_MODEL_CACHE": str(tmp_path / "models"), "HF_HUB_CACHE": str(tmp_path / "one")}
    first = fetch_model(STUDENT, COMMIT, cached, tmp_path)
    served = len(hub.served)
    again = fetch_model(STUDENT, COMMIT, cached | {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"}, tmp_path)

    assert again == first
    assert first.parent == tmp_path / "models"
    assert len(hub.served) == served
    assert {name: (first / name).read_bytes() for name in hub.files} == hub.files
    assert [path.name for path in (tmp_path / "models").iterdir()] == [first.name]


def test_another_revision_is_another_model_in_the_cache(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    cached = environ | {"LLM2LLM_MODEL_CACHE": str(tmp_path / "models")}
    first = fetch_model(STUDENT, COMMIT, cached, tmp_path)
    with pytest.raises((Transient, ConfigurationError)):
        fetch_model(STUDENT, "c" * 40, cached, tmp_path)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [first.name]


def emptied(folder: Path) -> None:
    """As a pod leaves it that dies in the middle of a copy, or somebody who fills the cache by hand."""
    for path in folder.iterdir():
        path.unlink()
    (folder / "config.json").write_text('{"model_ty')


def grown(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"more")


def cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 100)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(emptied, "its file list llm2llm-files.json cannot be read", id="a broken config and nothing else"),
        pytest.param(cut, "model.safetensors has 100 bytes", id="a file that was cut"),
        pytest.param(
            lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing", id="a file less"
        ),
        pytest.param(grown, "model-00002-of-00002.safetensors is not in its file list", id="a file more"),
    ],
)
def test_a_damaged_model_in_the_cache_is_fetched_anew_and_told(
    damage: Callable[[Path], None],
    told: str,
    hub: Hub,
    environ: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cached = environ | {"LLM2LLM_MODEL_CACHE": str(tmp_path / "models")}
    kept = fetch_model(STUDENT, COMMIT, cached, tmp_path)
    assert "damaged" not in capsys.readouterr().err
    damage(kept)

    assert fetch_model(STUDENT, COMMIT, cached, tmp_path) == kept
    assert f"{kept} is damaged ({told}" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in kept.iterdir() if path.name in hub.files} == hub.files
    listed = json.loads((kept / "llm2llm-files.json").read_bytes())
    assert {name: (entry["size"], entry["sha256"]) for name, entry in listed.items()} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in hub.files.items()
    }
    assert {path.name for path in kept.iterdir()} == {*hub.files, "llm2llm-files.json"}
    assert [path.name for path in (tmp_path / "models").iterdir()] == [kept.name]


def test_a_damaged_model_in_a_cache_that_cannot_be_mended_is_not_used(
    hub: Hub, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = environ | {"LLM2LLM_MODEL_CACHE": str(tmp_path / "models")}
    kept = fetch_model(STUDENT, COMMIT, cached, tmp_path)
    cut(kept)

    def full(_: Path, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", full)
    folder = fetch_model(STUDENT, COMMIT, cached, tmp_path)
    assert folder != kept
    assert {name: (folder / name).read_bytes() for name in hub.files} == hub.files


def test_a_cache_that_cannot_be_written_is_no_obstacle(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    folder = fetch_model(STUDENT, COMMIT, environ | {"LLM2LLM_MODEL_CACHE": str(tmp_path / "models")}, tmp_path)
    assert (folder / "config.json").exists()


@pytest.mark.parametrize(("version", "told"), [("", b"main"), ("@v2", b"v2")])
def test_rows_of_the_hub_are_one_file_of_a_data_set(
    hub: Hub, environ: dict[str, str], version: str, told: bytes
) -> None:
    hub.files["main/train.csv"] = b"question,answer\n"

    read = read_dataset_file(f"hf://team/rows{version}/main/train.csv", environ)
    assert read_dataset_file(f"hf://datasets/team/rows{version}/main/train.csv", environ) == read
    assert read == b"question,answer\n" + told


@pytest.mark.parametrize(
    ("uri", "kind", "words"),
    [
        pytest.param("hf://team/rows/none.csv", DataError, "none.csv does not exist", id="no such file"),
        pytest.param("hf://team/rows@v9/x.csv", ConfigurationError, "check spec.data", id="no such revision"),
        pytest.param(
            "hf://team/nobody/x.csv", ConfigurationError, "the dataset hf://team/nobody", id="no such data set"
        ),
        pytest.param("hf://team/rows", ConfigurationError, "expected hf://owner/dataset/path", id="no file"),
    ],
)
def test_rows_that_are_not_there_are_a_mistake_in_the_spec(
    uri: str, kind: type[StepError], words: str, environ: dict[str, str]
) -> None:
    with pytest.raises(kind, match=words):
        read_dataset_file(uri, environ)


def test_a_gated_data_set_and_a_hub_that_is_away_are_told_apart(hub: Hub, environ: dict[str, str]) -> None:
    hub.token = "hf_secret"
    with pytest.raises(AuthenticationError, match=r"spec\.student\.tokenSecretRef"):
        read_dataset_file("hf://team/rows/x.csv", environ)
    with pytest.raises(Transient):
        read_dataset_file("hf://team/rows/x.csv", environ | {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"})


def test_the_headers_of_weights_on_the_hub_are_read_without_the_weights(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    folder = fetch_model(STUDENT, COMMIT, environ, tmp_path, weights=False)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert find_weight_problems(STUDENT, COMMIT, environ, folder, vocabulary) == []
    [problem] = find_weight_problems(STUDENT, COMMIT, environ, folder, vocabulary + 1)
    assert f"vocab_size in config.json is {vocabulary + 1}" in problem
    hub.files["model.safetensors"] = hub.files["model.safetensors"][:-8]
    [problem] = find_weight_problems(STUDENT, COMMIT, environ, folder, vocabulary)
    assert "it was cut, or is damaged" in problem
    hub.status = 503
    with pytest.raises(Transient):
        find_weight_problems(STUDENT, COMMIT, environ, folder, vocabulary)


def test_weights_of_a_mirror_that_tells_no_sizes_are_read(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    hub.tells_sizes = False
    folder = fetch_model(STUDENT, COMMIT, environ, tmp_path, weights=False)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert find_weight_problems(STUDENT, COMMIT, environ, folder, vocabulary) == []
    [problem] = find_weight_problems(STUDENT, COMMIT, environ, folder, vocabulary + 1)
    assert f"vocab_size in config.json is {vocabulary + 1}" in problem


def test_shards_that_an_interrupted_download_left_out_are_read_on_the_hub(
    hub: Hub, environ: dict[str, str], tmp_path: Path
) -> None:
    first, second = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    whole = hub.files.pop("model.safetensors")
    hub.files[first] = whole
    hub.files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": {"lm_head.weight": first, "extra.weight": second}}
    ).encode()
    hub.files[second] = save({"extra.weight": np.zeros(1, np.float32)})
    folder = fetch_model(STUDENT, COMMIT, environ, tmp_path)
    (folder / second).unlink()
    assert find_weight_problems(STUDENT, COMMIT, environ, folder, 0) == []
    del hub.files[second]
    [problem] = find_weight_problems(STUDENT, COMMIT, environ, folder, 0)
    assert problem == f"{second} is missing, which model.safetensors.index.json lists"

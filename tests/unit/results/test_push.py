"""What the Hub has after a push, by its real client over HTTP, and what is said if it takes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.hub import TOKEN, Hub, Repo

from llm2llm.errors import AuthenticationError, ConfigurationError, StepError, Transient
from llm2llm.results.push import Repository, push_folder, repository_of

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's own upload

STUDENT = Repository("team/student", "model")
CARD = "---\nlibrary_name: peft\n---\n"
OTHERS = {"README.md": b"mine", "pytorch_model.bin": b"another model"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub that has no Xet storage, for a user who has not logged in."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    student = tmp_path / "student"
    (student / ".cache").mkdir(parents=True)
    (student / ".cache" / "mine").write_text("stays here")
    files = {
        "README.md": CARD,
        "llm2llm.json": "{}",
        "adapter_config.json": "{}",
        "adapter_model.safetensors": "w" * 99,
    }
    for name, text in files.items():
        (student / name).write_text(text)
    return student


def push(hub: Hub, folder: Path, repository: Repository = STUDENT, *, token: str = TOKEN, force: bool = False) -> str:
    environ = {"HF_ENDPOINT": hub.url, **({"HF_TOKEN": token} if token else {})}
    return push_folder(folder, repository, environ, message="student, iteration 1", force=force, public=False)


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("repository", [STUDENT, Repository("team/rows", "dataset")])
def test_a_new_repository_is_private_and_has_the_folder_in_one_commit(hub: Hub, folder: Path, repository: Repository):
    url = push(hub, folder, repository)
    repo = hub.repos[repository.kind, repository.name]
    assert repo.private
    assert repo.commits == [visible(folder)]
    assert repo.messages == ["student, iteration 1"]
    assert url == f"{hub.url}/{repository.name}/commit/{repo.head}"
    assert list(hub.lfs.values()) == [b"w" * 99]


def test_the_next_push_is_a_commit_onto_it_without_the_weights_of_the_former_one(hub: Hub, folder: Path):
    push(hub, folder)
    before = dict(hub.repos["model", "team/student"].files)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(b"whole")
    push(hub, folder)
    repo = hub.repos["model", "team/student"]
    assert repo.commits == [before, visible(folder)]
    assert sum("create" in request for request in hub.requests) == 1


def test_files_of_something_else_stay_alone_unless_they_are_forced(hub: Hub, folder: Path):
    repo = hub.repos["model", "team/student"] = Repo(commits=[dict(OTHERS)], messages=["first"])
    with pytest.raises(ConfigurationError, match=r"2 files that are not a student's, pytorch_model\.bin among them"):
        push(hub, folder)
    assert repo.commits == [OTHERS]
    push(hub, folder, force=True)
    assert repo.commits == [OTHERS, {**OTHERS, **visible(folder)}]


def test_an_empty_repository_is_taken(hub: Hub, folder: Path):
    files = {".gitattributes": b"*.safetensors filter=lfs", "README.md": b"empty"}
    repo = hub.repos["model", "team/student"] = Repo(private=False, commits=[files], messages=["first"])
    push(hub, folder)
    assert repo.files == files | visible(folder)
    assert not repo.private


@pytest.mark.parametrize(
    ("token", "refuse", "kind", "words"),
    [
        ("", {}, AuthenticationError, "there is no token: set HF_TOKEN to one that may write there, or `hf auth login`"),
        ("wrong", {}, AuthenticationError, r"the Hub refused the token \(401: .*\): HF_TOKEN needs the right to write"),
        (TOKEN, {"/api/repos": (403, "no rights in team")}, AuthenticationError, r"\(403: .*no rights in team.*\)"),
        (TOKEN, {"/api/validate-yaml": (400, "broken card")}, ConfigurationError, "broken card"),
        (TOKEN, {"/api/models/team/student/commit": (503, "busy")}, Transient, "503: .*: try again"),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_take_is_told_and_no_commit_is_made(
    hub: Hub, folder: Path, token: str, refuse: dict[str, tuple[int, str]], kind: type[StepError], words: str
):
    hub.refuse.update(refuse)
    with pytest.raises(kind, match=words) as refused:
        push(hub, folder, token=token)
    assert TOKEN not in refused.value.message
    assert not any(repo.commits for repo in hub.repos.values())


def test_a_hub_that_cannot_be_reached_is_told(hub: Hub, folder: Path):
    environ = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": TOKEN}
    with pytest.raises(Transient, match=r"the Hub cannot be reached: .*; try again\. HF_ENDPOINT names"):
        push_folder(folder, STUDENT, environ, message="m", force=False, public=False)


@pytest.mark.parametrize(
    ("target", "kind", "name"),
    [("hf://a/b", "model", "a/b"), ("hf://a/b", "dataset", "a/b"), ("hf://datasets/a/b", "dataset", "a/b")],
)
def test_a_repository_is_named_as_the_spec_names_models_and_rows(target: str, kind: str, name: str):
    assert repository_of(target, kind) == Repository(name, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("a/b", "expected hf://owner/name"),
        ("hf://b", "expected hf://owner/name"),
        ("hf://datasets/a/b", "expected hf://owner/name"),
        ("oci://ghcr.io/a/b:1", r"--dry-run FOLDER` writes the folder, and `cd FOLDER && oras push ghcr\.io/a/b:1 \.`"),
    ],
)
def test_what_is_no_repository_is_refused(target: str, words: str):
    with pytest.raises(ConfigurationError, match=words):
        repository_of(target, "model")

"""Uploads a folder to a repository on the Hugging Face Hub, or on a server that speaks its API, as one commit.

What a repository has is never lost: a commit replaces files, and the history keeps what they were. A repository that
does not exist is created private, because nobody takes back what was public for a minute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llm2llm.errors import AuthenticationError, ConfigurationError, Transient
from llm2llm.models.files import STUDENT, has_weights
from llm2llm.podenv import HUB_TOKEN
from llm2llm.runtime.reach import why_unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_OF_EVERY_REPOSITORY = frozenset((".gitattributes", "README.md", "LICENSE"))
_LOADED = ("adapter_config.json", "config.json")
"""Beside weights, what decides how a folder is loaded: of an earlier push, they would be loaded with the new files."""
_UNAUTHORIZED = (401, 403)
_NOT_FOUND = 404
_REFUSED = (400, _NOT_FOUND, 409, 412, 413, 422)


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub: `owner/name`."""

    name: str
    kind: Literal["model", "dataset"]


def repository_of(target: str, kind: Literal["model", "dataset"]) -> Repository:
    """Returns the repository that a command line names.

    Raises:
        ConfigurationError: it names none, or an OCI registry.
    """
    if target.startswith("oci://"):
        raise ConfigurationError(
            f"{target}: registries of containers are not written to from here: `llm2llm push RUN {target} --dry-run "
            f"FOLDER` writes the folder, and `cd FOLDER && oras push {target.removeprefix('oci://')} .` sends it"
        )
    name = target.removeprefix("hf://").removeprefix("datasets/" if kind == "dataset" else "")
    if not target.startswith("hf://") or name.count("/") != 1 or not all(name.split("/")):
        raise ConfigurationError(f"{target}: expected hf://owner/name, a repository on the Hugging Face Hub")
    return Repository(name, kind)


def push_folder(
    folder: Path, repository: Repository, environ: Mapping[str, str], *, message: str, force: bool, public: bool
) -> str:
    """Uploads the files of a folder as one commit; returns its address.

    Args:
        folder: with `llm2llm.json`, by which a later push finds that the repository is a student's.
        repository: is created if it does not exist.
        environ: has HF_TOKEN, unless the user has logged in by `hf auth login`, and HF_ENDPOINT for another server.
        message: of the commit.
        force: also to a repository that has files of something else.
        public: whether a new repository is.

    Raises:
        AuthenticationError: there is no token, or it may not write there.
        ConfigurationError: the repository has other files, or the server refuses its name or the card.
        Transient: the server cannot be reached, or fails.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    token = environ.get(HUB_TOKEN) or get_token()
    if not token:
        raise AuthenticationError(
            f"hf://{repository.name}: there is no token: set HF_TOKEN to one that may write there, or `hf auth login`"
        )
    api = HfApi(endpoint=environ.get("HF_ENDPOINT"), token=token, library_name="llm2llm")
    with _hub_failures(repository):
        present, head = _present(api, repository)
        if head is None:
            api.create_repo(repository.name, repo_type=repository.kind, private=not public)
        elif not force:
            _check_present(repository, present)
        new = _files_in(folder)
        stale = [name for name in present - new.keys() if has_weights([name]) or name in _LOADED]
        commit = api.create_commit(
            repository.name,
            [
                *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in new.items()),
                *(CommitOperationDelete(path_in_repo=name) for name in sorted(stale)),
            ],
            commit_message=message,
            repo_type=repository.kind,
            parent_commit=head,
        )
    return str(commit.commit_url)


def _files_in(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by their names in the repository; what is hidden stays here."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name.as_posix(): path for name, path in paths.items() if not any(p.startswith(".") for p in name.parts)}


def _check_present(repository: Repository, present: Collection[str]) -> None:
    """Raises ConfigurationError if a repository has files of something else than a student."""
    others = sorted(set(present) - _OF_EVERY_REPOSITORY)
    if others and STUDENT not in present:
        raise ConfigurationError(
            f"hf://{repository.name} has {len(present)} files that are not a student's, {others[0]} among them: name "
            "another repository, or --force a commit onto it (its history keeps them)"
        )


def _present(api: HfApi, repository: Repository) -> tuple[set[str], str | None]:
    """Returns the files of a repository and its newest commit; none and None if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        look_up = api.model_info if repository.kind == "model" else api.dataset_info
        info = look_up(repository.name)
    except RepositoryNotFoundError as error:
        if error.response.status_code != _NOT_FOUND:
            raise
        return set(), None
    return {sibling.rfilename for sibling in info.siblings or ()}, info.sha


@contextmanager
def _hub_failures(repository: Repository) -> Iterator[None]:
    """Translates the Hub's errors into errors with an exit code."""
    from huggingface_hub import errors

    # A failed connection raises the HTTP library's own error, whose module differs between releases of the Hub's
    # client.
    http_error: type[Exception] = errors.HfHubHTTPError.__mro__[1]
    place = f"hf://{repository.name}"
    try:
        yield
    except errors.HfHubHTTPError as error:
        status, words = error.response.status_code, " ".join(str(error.server_message or error).split())
        if status in _UNAUTHORIZED:
            raise AuthenticationError(
                f"{place}: the Hub refused the token ({status}: {words}): HF_TOKEN needs the right to write to "
                f"{repository.name.partition('/')[0]}"
            ) from error
        if status in _REFUSED:
            raise ConfigurationError(
                f"{place}: the Hub refused this ({status}: {words}); nothing was changed"
            ) from error
        raise Transient(f"{place}: {status}: {words}: try again; a commit is whole or not there") from error
    except (errors.HFValidationError, ValueError) as error:
        raise ConfigurationError(f"{place}: {error}") from error
    except (OSError, RuntimeError, http_error) as error:
        raise Transient(
            f"{place}: the Hub cannot be reached: {why_unreachable(str(error))}; try again. HF_ENDPOINT names another "
            "server, and HF_HUB_DISABLE_XET=1 uploads to one without Xet storage"
        ) from error

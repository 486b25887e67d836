"""Fetches base models to folders on this machine, and identifies their content.

`model_revision` resolves a model to a commit or a digest, once in Prepare; `fetch_model` downloads that revision, from
the Hub, a bucket, a volume or the cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm2llm.api.data import S3Access
from llm2llm.api.generate import TeacherSource
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import AuthenticationError, ConfigurationError, DataError, IncompatibleArtifacts, Transient
from llm2llm.models import cache as modelcache
from llm2llm.models import files as modelfiles
from llm2llm.models import headers
from llm2llm.models.digest import content_digest
from llm2llm.models.folder import check_folder, read_json
from llm2llm.paths import join
from llm2llm.podenv import HUB_TOKEN, MODEL_CACHE, TEACHER_HUB_TOKEN
from llm2llm.records import digest_of
from llm2llm.runtime.reach import why_unreachable
from llm2llm.storage import LocalStore, Store
from llm2llm.storage.uri import local_path, open_store, volume_of

_FILES_AT_ONCE = 8
_FORBIDDEN = (401, 403)
_NOT_FOUND = 404


@dataclass(frozen=True)
class ModelAt:
    """A model that a run names: its location, and the fields of the spec that say so, for messages.

    `field` has uri and revision, `token_field` the Hub token, which is in the environment variable `token`.
    """

    uri: str
    revision: str
    field: str = "spec.student.model"
    token_field: str = "spec.student.tokenSecretRef"  # noqa: S105 - a path in the spec
    token: str = HUB_TOKEN


def teacher_source(source: TeacherSource) -> ModelAt:
    """Returns the model of `generate.mode: Local`."""
    field = "spec.generate.teacher.source"
    return ModelAt(source.uri, source.revision, field, f"{field}.tokenSecretRef", TEACHER_HUB_TOKEN)


def model_revision(
    spec: AugmentationRunSpec,
    environ: Mapping[str, str],
    model: ModelAt | None = None,
    *,
    store: Store | None = None,
) -> str:
    """Returns what identifies the content of a model (by default the base model): a commit or a digest.

    For hf:// it is a commit. For s3:// it is a digest of names, sizes and entity tags, so that nothing is downloaded
    for it. The files of a volume are read once in a run, whose artifacts are `store`.

    Raises:
        ConfigurationError: there is no such model or revision, or it has no weights that can be loaded.
        AuthenticationError: it is gated, and the token does not give access.
    """
    return _revision_of(model or _student(spec), spec.artifacts, environ, store)


def _revision_of(model: ModelAt, access: S3Access, environ: Mapping[str, str], store: Store | None) -> str:
    if model.uri.startswith("hf://"):
        return _hub_commit(model, environ)
    if model.uri.startswith("s3://"):
        entries = list(open_store(model.uri, access, environ).entries(""))
        _check_names(model, (name for name, _, _ in entries))
        return digest_of(sorted(entries))
    folder = local_path(model.uri)
    _check_names(model, (path.name for path in folder.glob("*")))
    return content_digest(folder, store)


def fetch_model(
    spec: AugmentationRunSpec,
    revision: str,
    environ: Mapping[str, str],
    scratch: Path,
    *,
    weights: bool = True,
    model: ModelAt | None = None,
    store: Store | None = None,
) -> Path:
    """Fetches a model, by default the base model, to a folder on this machine, with or without its weights.

    Only the base model is kept in `spec.student.cache`. `store`: see model_revision.

    Raises:
        IncompatibleArtifacts: the model has changed since Prepare resolved it.
        ConfigurationError: its files name others that are no part of it (folder.check_folder).
    """
    chosen = model or _student(spec)
    if model is not None or not environ.get(MODEL_CACHE) or not chosen.uri.startswith(("hf://", "s3://")):
        folder = _fetch(spec.artifacts, chosen, revision, environ, scratch, weights=weights, store=store)
    else:
        folder = _fetch_through_cache(spec, revision, environ, scratch, weights=weights)
    trusted = spec.student.trust_remote_code and model is None
    check_folder(folder, chosen.field, trusted=trusted, within=volume_of(chosen.uri))
    return folder


def fetch_base(
    model: ModelAt, access: S3Access, environ: Mapping[str, str], scratch: Path, *, trusted: bool = False
) -> Path:
    """Fetches the base model of a student that is outside its run, at the revision that it was trained on.

    Args:
        model: with the resolved revision.
        access: how its bucket is reached, if it is in one.
        environ: has the credentials.
        scratch: folder to download to.
        trusted: whether its Python files will be run.

    Raises:
        IncompatibleArtifacts: the model has changed since the student was trained.
        ConfigurationError: see fetch_model.
    """
    folder = _fetch(access, model, model.revision, environ, scratch, weights=True)
    check_folder(folder, model.field, trusted=trusted, within=volume_of(model.uri))
    return folder


def _fetch_through_cache(
    spec: AugmentationRunSpec, revision: str, environ: Mapping[str, str], scratch: Path, *, weights: bool
) -> Path:
    cache = environ[MODEL_CACHE]
    kept = Path(cache) / digest_of([spec.student.model.uri, revision]).removeprefix("sha256:")[:24]
    if kept.exists():
        problem = modelcache.invalid_reason(kept)
        if not problem:
            return kept
        uri = spec.student.model.uri
        print(f"spec.student.cache: {kept} is damaged ({problem}): downloading {uri} again", file=sys.stderr)
    folder = _fetch(spec.artifacts, _student(spec), revision, environ, scratch, weights=weights)
    return modelcache.keep(folder, kept) if weights else folder


def find_weight_problems(
    spec: AugmentationRunSpec, revision: str, environ: Mapping[str, str], folder: Path, vocabulary: int
) -> list[str]:
    """Returns what the base model's weights lack (headers.find_problems), read where they are: nothing is downloaded.

    Args:
        spec: of the run.
        revision: of the model, resolved.
        environ: has the keys.
        folder: the model's, fetched with or without its weights.
        vocabulary: see headers.find_problems.
    """
    model = _student(spec)
    index_file = folder / headers.INDEX
    index = read_json(index_file, model.field) if index_file.exists() else None
    weights = [path for path in folder.iterdir() if modelfiles.has_weights([path.name])]
    local = {path.name: path.stat().st_size for path in weights if path.exists()}  # a link may lead nowhere
    remote = model.uri.startswith(("hf://", "s3://"))
    # The Hub's cache may have some of the shards: of a download that was interrupted, or that another program began.
    if headers.has_all_files(local, index) or (weights and not remote):
        return headers.find_problems(local, index, LocalStore(folder, within=Path("/")).read_start, vocabulary)
    if model.uri.startswith("s3://"):
        store = open_store(model.uri, spec.artifacts, environ)
        sizes = {name: size for name, size, _ in store.entries("") if "/" not in name}
        return headers.find_problems(sizes, index, store.read_start, vocabulary)
    if model.uri.startswith("hf://"):
        return headers.find_problems(*_hub_weights(model, revision, environ, index), vocabulary)
    return []


def _hub_weights(
    model: ModelAt, revision: str, environ: Mapping[str, str], index: Mapping[str, Any] | None
) -> tuple[dict[str, int | None], Mapping[str, Any] | None, headers.ReadStart]:
    from huggingface_hub import HfApi, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # public, but not in its __all__

    repository, endpoint = model.uri.removeprefix("hf://"), environ.get("HF_ENDPOINT")
    with _hub_failures(model, revision):
        info = HfApi(endpoint=endpoint, token=environ.get(model.token)).model_info(
            repository, revision=revision, files_metadata=True
        )
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}

    def read_start(name: str, size: int) -> bytes:
        span = {"Range": f"bytes=0-{size - 1}"}
        with _hub_failures(model, revision):
            url = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
            fields = build_hf_headers(token=environ.get(model.token)) | span
            with get_session().stream("GET", url, headers=fields) as response:
                hf_raise_for_status(response)
                start = b""
                for chunk in response.iter_bytes():  # a server may ignore the range
                    start += chunk
                    if len(start) >= size:
                        break
        return start[:size]

    return sizes, index, read_start


def read_dataset_file(uri: str, environ: Mapping[str, str]) -> bytes:
    """Returns the content of `hf://[datasets/]owner/dataset[@revision]/path`, a file of a dataset on the Hub.

    Raises:
        ConfigurationError: there is no such dataset or revision, or the URI does not name a file of one.
        DataError: the dataset has no such file.
        AuthenticationError: it is gated, and the token does not give access.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    owner, _, rest = uri.removeprefix("hf://").removeprefix("datasets/").partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    if not (owner and name and path):
        raise ConfigurationError(f"{uri}: expected hf://owner/dataset/path/of/the/file")
    repository = f"{owner}/{name}"
    dataset = ModelAt(f"the dataset hf://{repository}", revision or "main", field="spec.data")
    with _hub_failures(dataset, dataset.revision):
        try:
            local_file = hf_hub_download(
                repository,
                path,
                repo_type="dataset",
                revision=dataset.revision,
                endpoint=environ.get("HF_ENDPOINT"),
                token=environ.get("HF_TOKEN"),
                cache_dir=environ.get("HF_HUB_CACHE"),
            )
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            raise DataError(f"{uri} does not exist: check its path in the dataset") from None
    return Path(str(local_file)).read_bytes()


def _student(spec: AugmentationRunSpec) -> ModelAt:
    return ModelAt(spec.student.model.uri, spec.student.model.revision)


def _fetch(
    access: S3Access,
    model: ModelAt,
    revision: str,
    environ: Mapping[str, str],
    scratch: Path,
    *,
    weights: bool,
    store: Store | None = None,
) -> Path:
    if model.uri.startswith("hf://"):
        return _download_snapshot(model, revision, environ, weights=weights)
    if _revision_of(model, access, environ, store) != revision:
        raise IncompatibleArtifacts(f"{model.uri} has changed since the run started: restore it, or create another run")
    if not model.uri.startswith("s3://"):
        return local_path(model.uri)
    return _download_files(access, model, revision, environ, scratch, weights=weights)


def _download_files(
    access: S3Access,
    model: ModelAt,
    revision: str,
    environ: Mapping[str, str],
    scratch: Path,
    *,
    weights: bool,
) -> Path:
    store = open_store(model.uri, access, environ)
    target = scratch / "models" / revision.removeprefix("sha256:")[:16]

    def fetch(name: str) -> None:
        part = join(target, f"{name}.part")
        store.download(name, part)
        part.replace(join(target, name))

    names = _files_to_fetch(store, weights=weights)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        for _ in threads.map(fetch, [name for name in names if not (target / name).exists()]):
            pass  # re-raises the error of a download
    return target


def _files_to_fetch(store: Store, *, weights: bool) -> list[str]:
    """Returns the files of a model in a bucket but those that nothing loads: mirrors of the Hub have weights thrice."""
    names = list(store.list(""))
    other = [name for name in names if not modelfiles.is_weights_of_any_kind(name)]
    loaded = [name for name in names if modelfiles.has_weights([name]) and "/" not in name]
    if headers.WHOLE in loaded:
        loaded = [headers.WHOLE]
    elif headers.INDEX in names:
        with suppress(ValueError, AttributeError):
            listed = json.loads(store.read(headers.INDEX))["weight_map"].values()
            loaded = [name for name in loaded if name in listed]
    return [*other, *(loaded if weights else ())]


def _hub_commit(model: ModelAt, environ: Mapping[str, str]) -> str:
    from huggingface_hub import HfApi

    repository = model.uri.removeprefix("hf://")
    with _hub_failures(model, model.revision):
        info = HfApi(endpoint=environ.get("HF_ENDPOINT"), token=environ.get(model.token)).model_info(
            repository, revision=model.revision
        )
    if not info.sha:
        raise ConfigurationError(f"{model.uri}: the Hub returned no commit for revision {model.revision}")
    if info.siblings is not None:
        _check_names(model, (sibling.rfilename for sibling in info.siblings))
    return info.sha


def _download_snapshot(model: ModelAt, revision: str, environ: Mapping[str, str], *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = list(modelfiles.ALL if weights else modelfiles.SMALL)
    with _hub_failures(model, revision):
        folder = snapshot_download(
            model.uri.removeprefix("hf://"),
            revision=revision,
            endpoint=environ.get("HF_ENDPOINT"),
            token=environ.get(model.token),
            cache_dir=environ.get("HF_HUB_CACHE"),
            allow_patterns=patterns,
        )
    return Path(str(folder))


@contextmanager
def _hub_failures(location: ModelAt, revision: str) -> Iterator[None]:
    """Translates the Hub's errors into errors of a step."""
    from huggingface_hub import errors

    # A failed connection raises the HTTP library's own error, whose module differs between releases of the Hub's
    # client.
    http_error: type[Exception] = errors.HfHubHTTPError.__mro__[1]
    model = f"{location.uri} at revision {revision}"
    try:
        yield
    except errors.LocalEntryNotFoundError as error:  # the Hub client's error for "no connection"
        raise Transient(f"{model}: {_hub_unreachable(error)}") from error
    except (errors.GatedRepoError, errors.HfHubHTTPError) as error:
        status = error.response.status_code
        if isinstance(error, errors.GatedRepoError) or status in _FORBIDDEN:
            raise AuthenticationError(f"{model} is gated or private ({error}): check {location.token_field}") from error
        if status == _NOT_FOUND:
            raise ConfigurationError(f"{model} does not exist ({error}): check {location.field}") from error
        raise Transient(f"{model}: {error}") from error
    except (errors.HFValidationError, ValueError) as error:
        raise ConfigurationError(f"{model}: {error}: check {location.field}") from error
    except (OSError, http_error) as error:
        raise Transient(f"{model}: {_hub_unreachable(error)}") from error


def _hub_unreachable(error: Exception) -> str:
    reason = why_unreachable(str(error))
    if reason == str(error):
        return reason
    return (
        f"the Hugging Face Hub cannot be reached: {reason}; HF_ENDPOINT names a mirror, and a model that you have in a "
        "bucket, a volume or a folder needs no Hub"
    )


def _check_names(model: ModelAt, names: Iterable[str]) -> None:
    """Checks the names of a model's files before anything is fetched; files in subfolders are not part of it."""
    top = [name for name in names if "/" not in name]
    if not top:
        raise ConfigurationError(f"{model.uri} does not exist or is empty: check {model.field}.uri")
    if "config.json" not in top:
        raise ConfigurationError(f"{model.uri} has no config.json: check {model.field}.uri")
    if not modelfiles.has_weights(top):
        other = f", or set {model.field}.revision to one that has them" if model.uri.startswith("hf://") else ""
        raise ConfigurationError(
            f"{model.uri} has no *.safetensors weights, and other formats are not loaded: check {model.field}.uri, or "
            f"convert the weights with transformers' save_pretrained(..., safe_serialization=True){other}"
        )

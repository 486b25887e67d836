"""Base models as folders on this machine, and what identifies their content."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.api.stages import TeacherSource
from llm2llm.errors import AuthenticationError, ConfigurationError, DataError, IncompatibleArtifacts, Transient
from llm2llm.models import cache as modelcache
from llm2llm.models import files as modelfiles
from llm2llm.models.digest import content_digest
from llm2llm.podenv import HUB_TOKEN, MODEL_CACHE, TEACHER_HUB_TOKEN
from llm2llm.records import digest_of
from llm2llm.storage import Store
from llm2llm.storage.uri import local_path, open_store

_FILES_AT_ONCE = 8
_FORBIDDEN = (401, 403)
_NOT_FOUND = 404


@dataclass(frozen=True)
class ModelAt:
    """A model that a run names: where it is, and where the spec says so, for messages.

    `field` holds uri and revision, `token_field` the hub token, which is in the environment as `token`.
    """

    uri: str
    revision: str
    field: str = "spec.student.model"
    token_field: str = "spec.student.tokenSecretRef"  # noqa: S105 - a path in the spec
    token: str = HUB_TOKEN


def teacher_source(source: TeacherSource) -> ModelAt:
    """The model of `generate.mode: Local`."""
    field = "spec.generate.teacher.source"
    return ModelAt(source.uri, source.revision, field, f"{field}.tokenSecretRef", TEACHER_HUB_TOKEN)


def model_revision(
    spec: AugmentationRunSpec,
    environ: Mapping[str, str],
    model: ModelAt | None = None,
    *,
    store: Store | None = None,
) -> str:
    """What identifies the content of a model (unset: the base model): a commit for hf://, else a digest over its files.

    For s3:// the digest is over names, sizes and entity tags, so that nothing is downloaded for it; the files of a
    volume are read once in a run, whose artifacts are `store`.

    Raises:
        ConfigurationError: there is no such model or revision, or it has no weights that can be loaded.
        AuthenticationError: it is gated, and the token does not open it.
    """
    model = model or _student(spec)
    if model.uri.startswith("hf://"):
        return _commit(model, environ)
    if model.uri.startswith("s3://"):
        entries = list(open_store(model.uri, spec.artifacts, environ).entries(""))
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
    """A model, by default the base model, as a folder on this machine; without its weights where none are needed.

    Only the base model is kept in `spec.student.cache`. `store`: see model_revision.

    Raises:
        IncompatibleArtifacts: the model has changed since Prepare resolved it.
    """
    if model is not None:
        return _fetch(spec, model, revision, environ, scratch, weights=weights, store=store)
    cache = environ.get(MODEL_CACHE)
    if not cache or not spec.student.model.uri.startswith(("hf://", "s3://")):
        return _fetch(spec, _student(spec), revision, environ, scratch, weights=weights, store=store)
    kept = Path(cache) / digest_of([spec.student.model.uri, revision]).removeprefix("sha256:")[:24]
    if kept.exists():
        problem = modelcache.invalid_reason(kept)
        if not problem:
            return kept
        uri = spec.student.model.uri
        print(f"spec.student.cache: {kept} is damaged ({problem}): downloading {uri} again", file=sys.stderr)
    folder = _fetch(spec, _student(spec), revision, environ, scratch, weights=weights)
    return modelcache.keep(folder, kept) if weights else folder


def read_dataset_file(uri: str, environ: Mapping[str, str]) -> bytes:
    """The content of `hf://owner/dataset[@revision]/path`, one file of a data set of the hub.

    Raises:
        ConfigurationError: there is no such data set or revision, or the URI names no file of one.
        DataError: the data set has no such file.
        AuthenticationError: it is gated, and the token does not open it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    owner, _, rest = uri.removeprefix("hf://").partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    if not (owner and name and path):
        raise ConfigurationError(f"{uri}: expected hf://owner/dataset/path/of/the/file")
    repository = f"{owner}/{name}"
    named = ModelAt(f"the dataset hf://{repository}", revision or "main", field="spec.data")
    with _hub_failures(named, named.revision):
        try:
            found = hf_hub_download(
                repository,
                path,
                repo_type="dataset",
                revision=named.revision,
                endpoint=environ.get("HF_ENDPOINT"),
                token=environ.get("HF_TOKEN"),
                cache_dir=environ.get("HF_HUB_CACHE"),
            )
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            raise DataError(f"{uri} does not exist: check its path in the dataset") from None
    return Path(str(found)).read_bytes()


def _student(spec: AugmentationRunSpec) -> ModelAt:
    return ModelAt(spec.student.model.uri, spec.student.model.revision)


def _fetch(
    spec: AugmentationRunSpec,
    model: ModelAt,
    revision: str,
    environ: Mapping[str, str],
    scratch: Path,
    *,
    weights: bool,
    store: Store | None = None,
) -> Path:
    if model.uri.startswith("hf://"):
        return _snapshot(model, revision, environ, weights=weights)
    if model_revision(spec, environ, model, store=store) != revision:
        raise IncompatibleArtifacts(f"{model.uri} has changed since the run started: restore it, or create another run")
    if not model.uri.startswith("s3://"):
        return local_path(model.uri)
    return _download(spec, model, revision, environ, scratch, weights=weights)


def _download(
    spec: AugmentationRunSpec,
    model: ModelAt,
    revision: str,
    environ: Mapping[str, str],
    scratch: Path,
    *,
    weights: bool,
) -> Path:
    store = open_store(model.uri, spec.artifacts, environ)
    target = scratch / "models" / revision.removeprefix("sha256:")[:16]

    def fetch(name: str) -> None:
        part = target / f"{name}.part"
        store.download(name, part)
        part.replace(target / name)

    wanted = [name for name in store.list("") if weights or not modelfiles.has_weights([name])]
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        for _ in threads.map(fetch, [name for name in wanted if not (target / name).exists()]):
            pass  # raises what a download raised
    return target


def _commit(model: ModelAt, environ: Mapping[str, str]) -> str:
    from huggingface_hub import HfApi

    repository = model.uri.removeprefix("hf://")
    with _hub_failures(model, model.revision):
        found = HfApi(endpoint=environ.get("HF_ENDPOINT"), token=environ.get(model.token)).model_info(
            repository, revision=model.revision
        )
    if not found.sha:
        raise ConfigurationError(f"{model.uri}: the Hub returned no commit for revision {model.revision}")
    if found.siblings is not None:
        _check_names(model, (sibling.rfilename for sibling in found.siblings))
    return found.sha


def _snapshot(model: ModelAt, revision: str, environ: Mapping[str, str], *, weights: bool) -> Path:
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
def _hub_failures(at: ModelAt, revision: str) -> Iterator[None]:
    """Says what the hub's own errors mean for a step."""
    from huggingface_hub import errors

    # A connection that fails is told by the HTTP library's own error, whose module the hub's releases change.
    http_error: type[Exception] = errors.HfHubHTTPError.__mro__[1]
    model = f"{at.uri} at revision {revision}"
    try:
        yield
    except errors.LocalEntryNotFoundError as error:  # the hub's word for "no connection"
        raise Transient(f"{model}: {error}") from error
    except (errors.GatedRepoError, errors.HfHubHTTPError) as error:
        status = error.response.status_code
        if isinstance(error, errors.GatedRepoError) or status in _FORBIDDEN:
            raise AuthenticationError(f"{model} is gated or private ({error}): check {at.token_field}") from error
        if status == _NOT_FOUND:
            raise ConfigurationError(f"{model} does not exist ({error}): check {at.field}") from error
        raise Transient(f"{model}: {error}") from error
    except (errors.HFValidationError, ValueError) as error:
        raise ConfigurationError(f"{model}: {error}: check {at.field}") from error
    except (OSError, http_error) as error:
        raise Transient(f"{model}: {error}") from error


def _check_names(model: ModelAt, names: Iterable[str]) -> None:
    """By names alone, before anything is fetched; what lies in folders of the model's own is no part of it."""
    top = [name for name in names if "/" not in name]
    if "config.json" not in top:
        raise ConfigurationError(f"{model.uri} has no config.json: check {model.field}.uri")
    if not modelfiles.has_weights(top):
        other = f", or set {model.field}.revision to one that has them" if model.uri.startswith("hf://") else ""
        raise ConfigurationError(
            f"{model.uri} has no *.safetensors weights, and other formats are not loaded: check {model.field}.uri, or "
            f"convert the weights with transformers' save_pretrained(..., safe_serialization=True){other}"
        )

"""Opens the store that a URI names, and reads the user's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

from llm2llm.api.data import S3Access
from llm2llm.errors import ConfigurationError, DataError
from llm2llm.paths import is_relative_path, join
from llm2llm.podenv import CLAIMS, CONFIG_MAPS, CONFIG_MAPS_FOLDER
from llm2llm.storage.base import ObjectMissing, Store
from llm2llm.storage.local import LocalStore

EXPECTED = "expected s3://bucket/..., pvc://claim/..., configmap://name/key or file:///..."


def open_store(uri: str, access: S3Access, environ: Mapping[str, str], *, field: str = "spec.artifacts") -> Store:
    """Opens the store whose root is `uri`: s3://bucket/prefix, file:///folder or pvc://claim/folder.

    Raises:
        ConfigurationError: the URI has another scheme.
        AuthenticationError: there are no credentials.
    """
    open_scheme = STORES.get(uri.partition("://")[0] if "://" in uri else "")
    if open_scheme is None:
        raise ConfigurationError(f"{uri}: {EXPECTED}")
    return open_scheme(uri, access, environ, field)


def _open_folder(uri: str, _: S3Access, environ: Mapping[str, str], __: str) -> Store:
    path = local_path(uri, environ)
    return LocalStore(path, uri, within=volume_of(uri, environ) or path)


def _open_s3(uri: str, access: S3Access, environ: Mapping[str, str], field: str) -> Store:
    from llm2llm.storage.s3 import S3Store

    return S3Store(uri, access, environ, field=field)


STORES: Mapping[str, Callable[[str, S3Access, Mapping[str, str], str], Store]] = {
    "s3": _open_s3,
    "file": _open_folder,
    "pvc": _open_folder,
    "configmap": _open_folder,
}
"""Scheme of a URI to the function that opens its store; a new store is added only here."""


def local_path(uri: str, environ: Mapping[str, str] | None = None) -> Path:
    """Returns the file or folder that a file://, pvc:// or configmap:// URI names.

    Raises:
        ConfigurationError: the URI has another scheme, or leaves its volume.
    """
    scheme, _, rest = uri.partition("://")
    host, _, quoted = rest.partition("/")
    path = unquote(quoted, errors="surrogateescape")  # `#` and `?` are letters of a name here, as they are in a shell
    if scheme == "file" and host in ("", "localhost"):
        return Path("/") / path
    if scheme == "file":
        raise ConfigurationError(f"{uri}: a file:// URI must have an absolute path, after three slashes: file:///...")
    volume = volume_of(uri, environ)
    if volume is None:
        raise ConfigurationError(f"{uri}: {EXPECTED}")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        return volume
    try:
        return join(volume, "/".join(parts))
    except ValueError as error:
        raise ConfigurationError(f"{uri}: {error}: name a path in the {_VOLUMES[scheme]}") from error


_VOLUMES = {"pvc": "claim", "configmap": "ConfigMap"}


def volume_of(uri: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """Returns the folder where the claim or the ConfigMap of a URI is mounted; None for another scheme.

    Raises:
        ConfigurationError: the URI names none.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in _VOLUMES:
        return None
    mounts = CLAIMS if scheme == "pvc" else (environ or {}).get(CONFIG_MAPS_FOLDER) or CONFIG_MAPS
    name = rest.partition("/")[0]
    if not is_relative_path(name):
        raise ConfigurationError(f"{uri}: {name!r} is not the name of a {_VOLUMES[scheme]}")
    return Path(mounts) / name


_FOLDERS = ("file://", "pvc://", "configmap://")


def split_uri(uri: str) -> tuple[str, str]:
    """Splits the URI of an object into the URI of its folder and its name there."""
    folder, _, name = uri.rpartition("/")
    return folder, name


def read_source(uri: str, access: S3Access, environ: Mapping[str, str], *, field: str = "spec.artifacts") -> bytes:
    """Returns the content of one of the user's files.

    Args:
        uri: s3://, file://, pvc:// or configmap://.
        access: how its bucket is reached.
        environ: credentials of that bucket.
        field: the field of the spec that has these settings, for error messages.

    Raises:
        DataError: there is no such file.
    """
    folder, name = split_uri(uri)
    try:
        if uri.startswith(_FOLDERS):
            path = local_path(uri, environ)
            return LocalStore(path.parent, folder, within=volume_of(uri, environ) or Path("/")).read(path.name)
        return open_store(folder, access, environ, field=field).read(name)
    except ObjectMissing:
        raise DataError(f"{uri} does not exist: check its path") from None

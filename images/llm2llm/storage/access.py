"""With whose settings and keys a source of rows is read: its own, or those of the artifacts."""

from __future__ import annotations

from collections.abc import Mapping

from llm2llm.api.data import S3Access
from llm2llm.podenv import CA_BUNDLE, CREDENTIALS, env_name


def has_own(source: S3Access) -> bool:
    """Whether a source says anything about how it is reached."""
    return any(getattr(source, name) != field.default for name, field in S3Access.model_fields.items())


def access_of(source: S3Access, artifacts: S3Access) -> S3Access:
    """The settings that a source is read with: all its own, or all those of the artifacts."""
    return source if has_own(source) else artifacts


def environment_of(
    dataset: str, source: S3Access, artifacts: S3Access, environ: Mapping[str, str]
) -> Mapping[str, str]:
    """The environment that a source is read with.

    Credentials of its own replace those of the artifacts as a whole (a session token of the one belongs to no key of
    the other), and authorities that were named for the artifacts certify nobody else.
    """
    if not has_own(source):
        return environ
    left_out = {
        *(CREDENTIALS if source.credentials_secret_ref else ()),
        *((CA_BUNDLE,) if artifacts.ca_bundle_ref else ()),
    }
    kept = {name: value for name, value in environ.items() if name not in left_out}
    own = {
        name: environ[env_name(dataset, name)]
        for name in (*CREDENTIALS, CA_BUNDLE)
        if env_name(dataset, name) in environ
    }
    return kept | own

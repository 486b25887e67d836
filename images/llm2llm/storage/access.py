"""Decides with which settings and keys a source of rows is read: its own, or those of the artifacts."""

from __future__ import annotations

from collections.abc import Mapping

from llm2llm.api.data import S3Access
from llm2llm.podenv import CA_BUNDLE, CREDENTIALS, env_name


def has_own(source: S3Access) -> bool:
    """Returns whether a source sets anything about how it is reached."""
    return any(getattr(source, name) != field.default for name, field in S3Access.model_fields.items())


def access_of(source: S3Access, artifacts: S3Access) -> S3Access:
    """Returns the settings that a source is read with: all its own, or all those of the artifacts."""
    return source if has_own(source) else artifacts


def environment_of(
    dataset: str, source: S3Access, artifacts: S3Access, environ: Mapping[str, str]
) -> Mapping[str, str]:
    """Returns the environment that a source is read with.

    Its own credentials replace all of those of the artifacts (a session token belongs to one key only), and a CA bundle
    for the artifacts is not used for anyone else.
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

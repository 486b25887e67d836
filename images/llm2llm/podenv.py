"""How what is outside is reached: the variables that hold keys, and with whose keys a source of rows is read.

A source is read with settings of its own, or as the artifacts are. In a pod its Secrets and authorities stand under
names of their own, because those of the artifacts have the names that boto3 knows.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm2llm.api.data import S3Access

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
CA_BUNDLE = "AWS_CA_BUNDLE"
TEACHER_KEY = "LLM2LLM_TEACHER_API_KEY"
TEACHER_CA_BUNDLE = "LLM2LLM_TEACHER_CA_BUNDLE"
"""Path of the file with the authorities, as the operator mounts it."""
TEACHER_HUB_TOKEN = "LLM2LLM_TEACHER_HF_TOKEN"  # noqa: S105 - the name of a variable, not a token
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - likewise


def env_name(dataset: str, name: str) -> str:
    """What the environment variable `name` of boto3 is called for a data set: `LLM2LLM_SEED_AWS_ACCESS_KEY_ID`."""
    return f"LLM2LLM_{dataset.upper()}_{name}"


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

"""How what is outside is reached: the variables that hold keys, and with whose keys a source of rows is read.

A source is read with settings of its own, or as the artifacts are. In a pod its Secrets and authorities stand under
names of their own, because those of the artifacts have the names that boto3 knows.
"""

from __future__ import annotations

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

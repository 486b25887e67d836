"""The values of Secrets as a step takes them: stripped, of one line, and fit for a header."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import AuthenticationError
from llm2llm.records import Kind, Stage
from llm2llm.runtime.credentials import take_secrets


def spec(**changes: Any) -> AugmentationRunSpec:
    teacher = {"model": "t", "baseUrl": "http://t/v1", "apiKeySecretRef": {"name": "teacher", "key": "api-key"}}
    artifacts = {"uri": "s3://b/runs", "credentialsSecretRef": {"name": "s3"}}
    return AugmentationRunSpec.model_validate(
        builders.spec(generate={"teacher": teacher}, artifacts=artifacts, **changes)
    )


@pytest.mark.parametrize("value", ["sk-1", "sk-1\n", "\r\n sk-1\t\n", "sk-1   "])
def test_what_surrounds_a_key_is_no_part_of_it(value: str):
    environ = {"LLM2LLM_TEACHER_API_KEY": value, "HOME": "/root\n"}
    assert take_secrets(spec(), Stage.GENERATE, environ) == {"LLM2LLM_TEACHER_API_KEY": "sk-1", "HOME": "/root\n"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("\ufeffsk-1", "begins with a byte order mark, which some editors add"),
        ("sk\n-1", "has more than one line (a line break at character 3)"),
        ("sk\r-1", "has more than one line"),
        ("sk 1", "has a blank at character 3"),
        ("sk\u00a01", "has a blank at character 3"),
        ("schlüssel", "has a character that is not printable ASCII (U+00FC, character 5)"),
        ("sk\u200b1", "has a character that is not printable ASCII (U+200B, character 3)"),
        ("sk\0", "has a character that is not printable ASCII (U+0000, character 3)"),
        ("sk\udcff", "is no text (byte 0xFF at character 3)"),
    ],
)
def test_a_key_that_no_header_can_hold_is_told_by_secret_and_key_and_not_quoted(value: str, words: str):
    with pytest.raises(AuthenticationError) as caught:
        take_secrets(spec(), Stage.GENERATE, {"LLM2LLM_TEACHER_API_KEY": value})
    assert caught.value.message.startswith("Secret teacher, key api-key ")
    assert words in caught.value.message
    assert value not in caught.value.message


def test_a_key_of_a_tracking_server_fails_no_step():
    tracking = {"mlflow": {"uri": "https://mlflow", "credentialsSecretRef": {"name": "mlflow"}}}
    environ = {"LLM2LLM_MLFLOW_TOKEN": "two\nlines", "LLM2LLM_MLFLOW_PASSWORD": "schlüssel"}
    assert take_secrets(spec(tracking=tracking), Stage.EVALUATE, environ) == environ


@pytest.mark.parametrize(
    ("variable", "stage", "source"),
    [
        ("AWS_SECRET_ACCESS_KEY", Stage.TRAIN, "Secret s3, key AWS_SECRET_ACCESS_KEY"),
        ("HF_TOKEN", Stage.TRAIN, "environment variable HF_TOKEN"),
        ("LLM2LLM_SEED_AWS_SESSION_TOKEN", Stage.PREPARE, "Secret rows, key AWS_SESSION_TOKEN"),
    ],
)
def test_every_secret_of_a_step_is_looked_at(variable: str, stage: Stage, source: str):
    seed = {"uri": "s3://c/seed.jsonl", "credentialsSecretRef": {"name": "rows"}}
    run = spec(data={"seed": seed}, student={"model": {"uri": "hf://owner/model"}})
    with pytest.raises(AuthenticationError, match=f"^{source} has a blank"):
        take_secrets(run, stage, {variable: "a b"})


def test_a_step_does_not_end_for_a_secret_that_it_does_not_use():
    environ = {"LLM2LLM_TEACHER_API_KEY": "a b", "AWS_ACCESS_KEY_ID": "a"}
    assert take_secrets(spec(), Stage.TRAIN, environ) == environ
    assert take_secrets(spec(), Stage.GENERATE, environ, Kind.COLLECT) == environ


ON_DISK = {
    "data": {"seed": {"uri": "file:///seed.jsonl"}, "evaluation": {"uri": "file:///evaluation.jsonl"}},
    "student": {"model": {"uri": "file:///model"}},
    "artifacts": {"uri": "file:///runs"},
}


@pytest.mark.parametrize(
    ("changes", "stage", "variables"),
    [
        pytest.param({}, Stage.PREPARE, set(), id="nothing is read from elsewhere"),
        pytest.param({"artifacts": {"uri": "s3://b/runs"}}, Stage.GENERATE, {"AWS_ACCESS_KEY_ID"}, id="artifacts"),
        pytest.param({"reuseFrom": [{"uri": "s3://b/r"}]}, Stage.GENERATE, {"AWS_ACCESS_KEY_ID"}, id="another run"),
        pytest.param({"data": {"seed": {"uri": "s3://b/seed.jsonl"}}}, Stage.PREPARE, {"AWS_ACCESS_KEY_ID"}, id="rows"),
        pytest.param({"data": {"seed": {"uri": "s3://b/seed.jsonl"}}}, Stage.TRAIN, set(), id="rows, which Prepare froze"),
        pytest.param({"student": {"model": {"uri": "hf://o/m"}}}, Stage.TRAIN, {"HF_TOKEN"}, id="a model of the Hub"),
        pytest.param({"student": {"model": {"uri": "hf://o/m"}}}, Stage.GENERATE, set(), id="which Generate does not load"),
    ],
)  # fmt: skip
def test_a_key_of_the_environment_is_looked_at_where_it_is_used(
    changes: dict[str, Any], stage: Stage, variables: set[str]
):
    run = AugmentationRunSpec.model_validate(builders.spec(**{**ON_DISK, **changes}))
    refused = set()
    for name in ("AWS_ACCESS_KEY_ID", "HF_TOKEN"):
        try:
            take_secrets(run, stage, {name: "a b"})
        except AuthenticationError as error:
            refused.add(name)
            assert error.message.endswith("has a blank at character 2: create it again")  # noqa: PT017
    assert refused == variables

"""`--secret`: what it gives, what is missing, what nothing uses; and that no key is ever shown."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import InvalidManifest
from llm2llm.manifests.secrets import add_secrets, missing_secrets, unused_secrets

KEY = "sk-proj-4Vq81xW0ZtEr"


def spec(**changes: Any) -> AugmentationRunSpec:
    teacher = {"model": "m", "baseUrl": "http://t/v1", "apiKeySecretRef": {"name": "teacher", "key": "api-key"}}
    return AugmentationRunSpec.model_validate(builders.spec(generate={"teacher": teacher}, **changes))


def test_a_secret_comes_from_the_environment_and_wins():
    given = add_secrets({"teacher": {"api-key": "old"}}, ["teacher/api-key=KEY"], {"KEY": "new"}, spec())
    assert given == {"teacher": {"api-key": "new"}}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("teacher=KEY", "--secret ...: must be NAME/KEY=ENVVAR"),
        (KEY, "--secret ...: must be NAME/KEY=ENVVAR"),
        ("a/b", "--secret ...: must be NAME/KEY=ENVVAR"),
        ("teacher/api-key=", "--secret teacher/api-key: must be NAME/KEY=ENVVAR"),
        (f"{KEY}=", "--secret ...: must be NAME/KEY=ENVVAR"),
        (f"{KEY}==", "--secret ...: must be NAME/KEY=ENVVAR"),
        (f"{KEY}/x==", "--secret ...: no environment variable has the name"),
        (f"teacher/api-key:{KEY}==", "--secret ...: no environment variable has the name"),
        (f"teacher/api-key={KEY}", "--secret teacher/api-key: no environment variable has the name that follows the =; if that is the key itself"),
        ("a/b=AKIA4VQ81XW0ZTER", "--secret ...: no environment variable has the name"),
        ("teacher/api-key=TEACHERKEY", "--secret teacher/api-key: no environment variable has the name that follows the =: did you mean TEACHER_KEY?"),
    ],
)  # fmt: skip
def test_a_secret_without_sense_is_refused_and_what_follows_the_equals_sign_is_not_shown(setting: str, told: str):
    with pytest.raises(InvalidManifest) as refused:
        add_secrets({}, [setting], {"TEACHER_KEY": "x"}, spec())
    (problem,) = refused.value.problems
    assert problem.startswith(told)
    assert KEY not in problem
    assert "AKIA" not in problem


S3 = {"artifacts": {"uri": "s3://b/runs", "credentialsSecretRef": {"name": "s3"}}}
FOLDER = {
    "artifacts": {"uri": "file:///runs", "credentialsSecretRef": {"name": "s3"}},
    "data": {"seed": {"uri": "file:///x"}},
    "student": {"model": {"uri": "file:///m"}},
}
"""All that it reads is on this machine, and the keys of its bucket are not needed."""


@pytest.mark.parametrize(
    ("changes", "secrets", "environ", "missing"),
    [
        pytest.param(FOLDER, {}, {}, ["teacher/api-key"], id="the teacher's key"),
        pytest.param(FOLDER, {"teacher": {"api-key": ""}}, {}, [], id="one that is given, though empty"),
        pytest.param(FOLDER, {}, {"LLM2LLM_TEACHER_API_KEY": "x"}, [], id="one that the environment has"),
        pytest.param(S3, {"teacher": {"api-key": "x"}}, {}, ["s3/AWS_ACCESS_KEY_ID", "s3/AWS_SECRET_ACCESS_KEY"], id="a bucket's"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_with_the_option_that_gives_it(
    changes: dict[str, Any], secrets: dict[str, dict[str, str]], environ: dict[str, str], missing: list[str]
):
    found = list(missing_secrets(spec(**changes), secrets, environ))
    assert len(found) == len(missing)
    for problem, address in zip(found, missing, strict=True):
        assert f"add --secret {address}=ENVVAR" in problem


def test_a_run_that_never_generates_needs_no_key_of_the_teacher():
    assert list(missing_secrets(spec(**FOLDER, maxIterations=1), {}, {})) == []


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("teacher/api-key=K", []),
        ("s3/AWS_SESSION_TOKEN=K", []),
        ("teecher/api-key=K", [": did you mean teacher/api-key?"]),
        ("x/y=K", ["--secret x/y: no field of the spec names this Secret and key"]),
    ],
)
def test_what_nothing_uses_is_told(setting: str, told: list[str]):
    found = list(unused_secrets(spec(**S3), [setting]))
    assert len(found) == len(told)
    assert all(problem.endswith(words) for problem, words in zip(found, told, strict=True))

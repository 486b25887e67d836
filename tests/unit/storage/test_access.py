"""A source of rows is reached by settings of its own, all of them, or as the artifacts are."""

from __future__ import annotations

from typing import Any

from llm2llm.api.data import Artifacts, Source
from llm2llm.storage.access import access_of, environment_of

ARTIFACTS = Artifacts.model_validate(
    {
        "uri": "s3://b/runs",
        "endpoint": "http://minio",
        "credentialsSecretRef": {"name": "minio"},
        "caBundleRef": {"name": "minio"},
    }
)
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "artifacts",
    "AWS_SECRET_ACCESS_KEY": "artifacts",
    "AWS_SESSION_TOKEN": "artifacts",
    "AWS_CA_BUNDLE": "/artifacts",
    "LLM2LLM_SEED_AWS_ACCESS_KEY_ID": "seed",
    "LLM2LLM_SEED_AWS_SECRET_ACCESS_KEY": "seed",
    "LLM2LLM_TEST_AWS_CA_BUNDLE": "/test",
}


def seen(**settings: Any) -> tuple[str, dict[str, str]]:
    """Endpoint and the variables of boto3 with which the seed set is read."""
    source = Source.model_validate({"uri": "s3://b/x.jsonl"} | settings)
    given = {name: text for name, text in ENVIRON.items() if source.credentials_secret_ref or "SEED" not in name}
    environ = environment_of("seed", source, ARTIFACTS, given)
    return access_of(source, ARTIFACTS).endpoint, {name: text for name, text in environ.items() if name[:3] == "AWS"}


def test_a_source_that_says_nothing_is_read_as_the_artifacts_are():
    endpoint, environ = seen()
    assert endpoint == "http://minio"
    assert set(environ.values()) == {"artifacts", "/artifacts"}


def test_credentials_of_its_own_replace_all_of_the_artifacts_and_their_authorities():
    endpoint, environ = seen(credentialsSecretRef={"name": "rows"})
    assert endpoint == ""
    assert environ == {"AWS_ACCESS_KEY_ID": "seed", "AWS_SECRET_ACCESS_KEY": "seed"}


def test_without_credentials_of_its_own_those_of_the_artifacts_serve():
    endpoint, environ = seen(endpoint="http://other")
    assert endpoint == "http://other"
    assert environ["AWS_ACCESS_KEY_ID"] == "artifacts"
    assert "AWS_CA_BUNDLE" not in environ

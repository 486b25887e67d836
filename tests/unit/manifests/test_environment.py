"""The environment that the local runner gives a step, which the operator would give its pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import AuthenticationError
from llm2llm.manifests.documents import read_documents, validate_run
from llm2llm.manifests.environment import mount_config_maps, step_environment
from llm2llm.records import Stage
from llm2llm.storage import read_source

SECRETS = {"teacher": {"api-key": "hush"}, "s3": {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "psst"}}


def spec(**changes: Any) -> AugmentationRunSpec:
    """A run whose teacher and artifacts have Secrets."""
    teacher = {"model": "t", "baseUrl": "http://teacher/v1", "apiKeySecretRef": {"name": "teacher", "key": "api-key"}}
    artifacts = {"uri": "s3://b/runs", "credentialsSecretRef": {"name": "s3"}}
    return AugmentationRunSpec.model_validate(
        builders.spec(generate={"teacher": teacher}, artifacts=artifacts, **changes)
    )


def test_secrets_reach_the_step_as_the_operator_would_pass_them():
    environment = step_environment(spec(), Stage.GENERATE, SECRETS, {"PATH": "/bin"})
    assert environment == {
        "PATH": "/bin",
        "LLM2LLM_TEACHER_API_KEY": "hush",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "psst",
    }


def test_config_maps_beside_the_run_are_rows_and_authorities(tmp_path: Path):
    (tmp_path / "all.yaml").write_text(
        """
apiVersion: v1
kind: ConfigMap
metadata: {name: corporate}
data: {ca.crt: "-----BEGIN CERTIFICATE-----"}
binaryData: {seed.jsonl: e30K}
---
apiVersion: llm2llm.dev/v1alpha1
kind: AugmentationRun
metadata: {name: r}
spec:
  task: {promptTemplate: "{{ prompt }}"}
  data: {seed: {uri: "configmap://corporate/seed.jsonl", caBundleRef: {name: nobody-gave-it}}}
  student: {model: {uri: hf://owner/model}}
  artifacts: {uri: s3://bucket/runs, caBundleRef: {name: corporate}}
  generate: {teacher: {model: m, baseUrl: "https://t/v1", caBundleRef: {name: corporate}}}
"""
    )
    documents = read_documents([tmp_path])
    spec = validate_run(documents.the_run()).spec
    (tmp_path / "mounted").mkdir()
    environment = mount_config_maps(spec, documents.config_maps, tmp_path / "mounted")

    authorities = str(tmp_path / "mounted/corporate/ca.crt")
    assert environment == {
        "LLM2LLM_CONFIG_MAPS": str(tmp_path / "mounted"),
        "AWS_CA_BUNDLE": authorities,
        "LLM2LLM_TEACHER_CA_BUNDLE": authorities,
    }
    assert read_source(spec.data.seed.uri, spec.artifacts, environment) == b"{}\n"


def test_the_variables_of_a_step_block_are_set_for_that_step():
    run = spec(train={"env": [{"name": "A", "value": "b"}]})
    assert step_environment(run, Stage.TRAIN, {}, {}) == {"A": "b"}
    assert step_environment(run, Stage.EVALUATE, {}, {}) == {}


@pytest.mark.parametrize(
    ("secrets", "key"),
    [
        pytest.param({}, "of-the-shell", id="a Secret that was not given"),
        pytest.param({"teacher": {"another": "x"}}, "of-the-shell", id="nor its key"),
        pytest.param({"teacher": {"api-key": "hush"}}, "hush", id="one that was given"),
        pytest.param({"teacher": {"api-key": ""}}, "", id="an empty one is given, too"),
    ],
)
def test_the_environments_own_value_stays_where_no_secret_was_given(secrets: dict[str, dict[str, str]], key: str):
    own = {"LLM2LLM_TEACHER_API_KEY": "of-the-shell", "A": "of the shell"}
    run = spec(prepare={"env": [{"name": "A", "value": "of the step"}]})
    environment = step_environment(run, Stage.PREPARE, secrets, own)
    assert environment == {"LLM2LLM_TEACHER_API_KEY": key, "A": "of the step"}
    assert own["A"] == "of the shell"


@pytest.mark.parametrize("value", ["/////w==", "aHVzaP8="])
def test_bytes_that_are_no_text_where_a_key_is_needed_are_told_by_secret_and_key(tmp_path: Path, value: str):
    text = f"kind: Secret\nmetadata: {{name: teacher}}\ndata: {{api-key: {value}}}\n---\nkind: AugmentationRun\n"
    (tmp_path / "all.yaml").write_text(text)
    secrets = read_documents([tmp_path]).secrets
    assert step_environment(spec(), Stage.TRAIN, secrets, {}) == {}
    with pytest.raises(AuthenticationError, match=r"^Secret teacher, key api-key is no text \(byte 0xFF at character"):
        step_environment(spec(), Stage.GENERATE, secrets, {})

"""Files as kubectl takes them, and the changes of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import InvalidManifest
from llm2llm.local.documents import add_secrets, read_documents, set_fields, validate_run
from llm2llm.local.environment import mount_config_maps, step_environment
from llm2llm.records import Stage
from llm2llm.storage import read_source

RUN = Path(__file__).resolve().parents[3] / "examples" / "keyword" / "run.yaml"
SECRETS = """
kind: Secret
metadata: {name: teacher}
data: {api-key: aHVzaA==}
---
kind: Secret
metadata: {name: s3}
stringData: {AWS_ACCESS_KEY_ID: me, AWS_SECRET_ACCESS_KEY: psst}
---
kind: ConfigMap
metadata: {name: other}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(RUN.read_text())
    (tmp_path / "secrets.yml").write_text(SECRETS)
    (tmp_path / "notes.txt").write_text("not: [yaml")
    return tmp_path


def spec_of(folder: Path) -> AugmentationRunSpec:
    return validate_run(read_documents([folder]).the_run()).spec


def test_a_folder_is_its_manifests_and_secrets_are_decoded(folder: Path):
    documents = read_documents([folder])
    assert validate_run(documents.the_run()).name == "keyword"
    assert documents.secrets == {
        "teacher": {"api-key": "hush"},
        "s3": {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "psst"},
    }


def test_secrets_reach_the_step_as_the_operator_would_pass_them(folder: Path):
    environment = step_environment(spec_of(folder), Stage.GENERATE, read_documents([folder]).secrets, {"PATH": "/bin"})
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


def test_a_secret_comes_from_the_environment_and_wins():
    given = add_secrets({"teacher": {"api-key": "old"}}, ["teacher/api-key=KEY"], {"KEY": "new"})
    assert given == {"teacher": {"api-key": "new"}}


def test_the_variables_of_a_step_block_are_set_for_that_step(folder: Path):
    document = set_fields(read_documents([folder]).the_run(), ["spec.train.env=[{name: A, value: b}]"])
    spec = validate_run(document).spec
    assert step_environment(spec, Stage.TRAIN, {}, {}) == {"A": "b"}
    assert step_environment(spec, Stage.EVALUATE, {}, {}) == {}


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("spec.maxIterations=2", ("maxIterations",), 2),
        ("spec.suspend=true", ("suspend",), True),
        ("spec.data.seed.uri=file:///a=b", ("data", "seed", "uri"), "file:///a=b"),
        ("spec.train.lora.dropout=0.2", ("train", "lora", "dropout"), "0.2"),
        ("spec.train.hyperparameters.weightDecay=1", ("train", "hyperparameters", "weightDecay"), "1"),
        ("spec.objective.goal=0.9", ("objective", "goal"), "0.9"),
        ("spec.task.labels=[a, b]", ("task", "labels"), ["a", "b"]),
    ],
)
def test_set(folder: Path, setting: str, path: tuple[str, ...], value: object):
    document = read_documents([folder]).the_run()
    changed = set_fields(document, [setting])
    found = validate_run(changed).spec.model_dump(by_alias=True)
    for name in path:
        found = found[name]
    assert found == value
    assert validate_run(document).spec.max_iterations == 5  # the file's document is untouched


@pytest.mark.parametrize("setting", ["spec.maxIterations", "spec.maxIterations.x=1", "=1"])
def test_a_set_without_sense_is_refused(folder: Path, setting: str):
    with pytest.raises(InvalidManifest, match="must be path=value"):
        set_fields(read_documents([folder]).the_run(), [setting])


@pytest.mark.parametrize(("setting", "told"), [("teacher=KEY", "must be name/key"), ("a/b=NONE", "NONE is not set")])
def test_a_secret_without_sense_is_refused(setting: str, told: str):
    with pytest.raises(InvalidManifest, match=told):
        add_secrets({}, [setting], {"KEY": "x"})


def test_two_runs_are_one_too_many(folder: Path):
    (folder / "second.yaml").write_text(RUN.read_text())
    with pytest.raises(InvalidManifest, match="found 2 AugmentationRuns"):
        read_documents([folder]).the_run()

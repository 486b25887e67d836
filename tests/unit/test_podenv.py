"""The pod contract: what the operator puts into a pod is what the local runner gives a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.manifests.environment import mount_config_maps, step_environment
from llm2llm.podenv import ca_bundles, secret_variables
from llm2llm.records import Kind, Stage
from llm2llm_operator.build.job import job_manifest
from llm2llm_operator.model.status import CurrentStep

OWN = {"credentialsSecretRef": {"name": "rows"}, "caBundleRef": {"name": "rows-ca"}}
SPEC: dict[str, Any] = {
    "data": {
        "seed": {"uri": "s3://b/seed.jsonl", **OWN},
        "evaluation": {"uri": "s3://b/evaluation.jsonl"},
    },
    "student": {"model": {"uri": "hf://o/m"}, "tokenSecretRef": {"name": "hub", "key": "token"}},
    "artifacts": {"uri": "s3://b/runs", "credentialsSecretRef": {"name": "s3"}, "caBundleRef": {"name": "s3-ca"}},
    "generate": {
        "teacher": {
            "model": "t",
            "baseUrl": "http://teacher/v1",
            "apiKeySecretRef": {"name": "teacher", "key": "api-key"},
            "caBundleRef": {"name": "teacher-ca"},
        }
    },
    "tracking": {
        "mlflow": {
            "uri": "https://mlflow",
            "credentialsSecretRef": {"name": "mlflow"},
            "caBundleRef": {"name": "mlflow-ca"},
        }
    },
}
BUCKET = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
MLFLOW = {f"LLM2LLM_MLFLOW_{name}" for name in ("TOKEN", "USERNAME", "PASSWORD")}
ROWS = {f"LLM2LLM_SEED_{name}" for name in BUCKET}
SECRETS = {
    "s3": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"},
    "rows": {"AWS_ACCESS_KEY_ID": "id-2", "AWS_SECRET_ACCESS_KEY": "secret-2", "AWS_SESSION_TOKEN": "session"},
    "teacher": {"api-key": "k"},
    "hub": {"token": "h"},
    "mlflow": {"MLFLOW_TRACKING_TOKEN": "m"},
}


def spec() -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**SPEC))


def in_pod(stage: Stage, kind: Kind) -> dict[str, tuple[str, str, bool]]:
    """The variables of a pod that come from Secrets: Secret, key, and whether the pod starts without it."""
    current = CurrentStep(stage=stage.value, kind=kind.value, job_name="j")
    images = {each.value.lower(): "image" for each in Stage}
    body = job_manifest(builders.run(**SPEC), spec(), current, {}, images)
    found = {}
    for variable in body["spec"]["template"]["spec"]["containers"][0]["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            found[variable["name"]] = (reference["name"], reference["key"], reference.get("optional", False))
    return found


@pytest.mark.parametrize(
    ("stage", "kind", "names"),
    [
        pytest.param(Stage.PREPARE, Kind.RUN, BUCKET | ROWS | {"LLM2LLM_TEACHER_API_KEY", "HF_TOKEN"}, id="Prepare"),
        pytest.param(Stage.TRAIN, Kind.RUN, BUCKET | {"HF_TOKEN"}, id="Train"),
        pytest.param(Stage.EVALUATE, Kind.RUN, BUCKET | MLFLOW | {"HF_TOKEN"}, id="Evaluate"),
        pytest.param(Stage.GENERATE, Kind.RUN, BUCKET | {"LLM2LLM_TEACHER_API_KEY"}, id="Generate"),
        pytest.param(Stage.TEST, Kind.RUN, BUCKET | MLFLOW | {"HF_TOKEN"}, id="Test"),
        pytest.param(Stage.GENERATE, Kind.COLLECT, BUCKET, id="Collect reads a manifest and nothing else"),
        pytest.param(Stage.EVALUATE, Kind.COLLECT, BUCKET, id="Collect writes to no tracking server"),
    ],
)
def test_a_stage_gets_the_secrets_that_it_needs_and_no_other(stage: Stage, kind: Kind, names: set[str]):
    table = {one.name: (one.secret, one.key, one.optional) for one in secret_variables(spec(), stage, kind)}
    assert set(table) == names
    assert in_pod(stage, kind) == table
    assert {name for name, (_, _, optional) in table.items() if optional} == {
        name for name in names if name.endswith("SESSION_TOKEN") or name in MLFLOW
    }


@pytest.mark.parametrize("stage", Stage)
def test_the_local_runner_gives_a_step_the_same_keys_as_its_pod(stage: Stage):
    here = step_environment(spec(), stage, SECRETS, {"PATH": "/bin"})
    there = {
        name: SECRETS[secret][key]
        for name, (secret, key, _) in in_pod(stage, Kind.RUN).items()
        if key in SECRETS[secret]
    }
    assert here == {"PATH": "/bin"} | there


def test_the_local_runner_names_the_same_ca_bundles_as_the_pods(tmp_path: Path):
    maps = {name: {"ca.crt": b"PEM"} for name in ("s3-ca", "rows-ca", "teacher-ca", "mlflow-ca")}
    found = mount_config_maps(spec(), maps, tmp_path)
    there = {bundle.variable: bundle.reference.name for stage in Stage for bundle in ca_bundles(spec(), stage)}
    assert there == {
        "AWS_CA_BUNDLE": "s3-ca",
        "LLM2LLM_SEED_AWS_CA_BUNDLE": "rows-ca",
        "LLM2LLM_TEACHER_CA_BUNDLE": "teacher-ca",
        "LLM2LLM_MLFLOW_CA_BUNDLE": "mlflow-ca",
    }
    del found["LLM2LLM_CONFIG_MAPS"]
    assert found == {variable: str(tmp_path / name / "ca.crt") for variable, name in there.items()}


def test_only_the_bundle_of_a_tracking_server_may_be_missing_when_a_pod_starts():
    current = CurrentStep(stage="Evaluate", job_name="j")
    body = job_manifest(builders.run(**SPEC), spec(), current, {}, {each.value.lower(): "image" for each in Stage})
    bundles = {
        volume["name"]: volume["configMap"].get("optional", False)
        for volume in body["spec"]["template"]["spec"]["volumes"]
        if volume["name"].startswith("ca-")
    }
    assert bundles == {"ca-artifacts": False, "ca-mlflow": True}

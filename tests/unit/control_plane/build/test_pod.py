"""What a step's pod has and may do, and whose setting wins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders
from tests.support.manifests import LOCAL, collecting, container, environment, manifest, manifest_with

from llm2llm.records import Stage
from llm2llm_operator.build.poddefaults import PodDefaults

SECRETS = {
    "artifacts": {"uri": "s3://b/runs", "credentialsSecretRef": {"name": "s3"}},
    "generate": {
        "teacher": {"model": "t", "baseUrl": "http://x/v1", "apiKeySecretRef": {"name": "teacher", "key": "api-key"}}
    },
}


@pytest.mark.parametrize(
    ("stage", "key"),
    [(Stage.PREPARE, True), (Stage.TRAIN, False), (Stage.EVALUATE, False), (Stage.GENERATE, True)],
    ids=str,
)
def test_only_the_steps_that_speak_with_the_teacher_get_its_key(stage: Stage, key: bool):
    names = environment(manifest(stage, **SECRETS))
    assert ("LLM2LLM_TEACHER_API_KEY" in names) is key
    assert names["AWS_ACCESS_KEY_ID"]["secretKeyRef"] == {"name": "s3", "key": "AWS_ACCESS_KEY_ID"}


def test_fault_52_dollar_signs_and_braces_reach_the_step_byte_for_byte():
    template = "$(HOME) $$ {{ prompt }} 'quoted' \"twice\" \\ $"
    body = manifest(Stage.TRAIN, task={"promptTemplate": template, "grader": {"type": "ExactMatch"}})
    text = environment(body)["LLM2LLM_STEP"]
    assert "$" not in text  # nothing for a kubelet to expand
    assert json.loads(text)["spec"]["task"]["promptTemplate"] == template


def test_pods_satisfy_restricted_and_get_no_api_token():
    body = manifest(Stage.TRAIN)
    pod = body["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(body)["securityContext"]["readOnlyRootFilesystem"] is True


def test_each_control_of_restricted_is_set_on_the_pod_or_its_container():
    body = manifest(Stage.TRAIN)
    pod, step = body["spec"]["template"]["spec"], container(body)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert step["securityContext"]["allowPrivilegeEscalation"] is False
    assert step["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


RESTRICTED = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
OURS = {"fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch"}


@pytest.mark.parametrize(
    ("group", "own", "fields"),
    [
        pytest.param(65532, None, OURS, id="the operator's group, so that a claim of root can be written to"),
        pytest.param(None, None, {}, id="the cluster decides for all runs"),
        pytest.param(65532, {}, {}, id="the cluster decides for this run"),
        pytest.param(65532, {"fsGroupChangePolicy": "OnRootMismatch"}, {}, id="as the API server fills it in"),
        pytest.param(65532, {"fsGroup": 0}, OURS | {"fsGroup": 0}, id="a group of one's own"),
        pytest.param(
            None,
            {
                "fsGroup": 7,
                "fsGroupChangePolicy": "Always",
                "supplementalGroups": [4],
                "seLinuxOptions": {"level": "s0"},
            },
            {
                "fsGroup": 7,
                "fsGroupChangePolicy": "Always",
                "supplementalGroups": [4],
                "seLinuxOptions": {"level": "s0"},
            },
            id="everything",
        ),
    ],
)
def test_a_pods_group_is_the_operators_unless_the_run_or_the_cluster_decides(
    group: int | None, own: dict[str, Any] | None, fields: dict[str, Any]
):
    overrides = {} if own is None else {"podOverrides": {"securityContext": own}}
    for stage in Stage:
        body = manifest_with(PodDefaults(fs_group=group), stage, overrides)
        assert body["spec"]["template"]["spec"]["securityContext"] == RESTRICTED | fields


def test_a_container_is_not_started_again_within_its_pod_and_what_it_says_last_is_kept():
    body = manifest(Stage.TRAIN)
    assert body["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert container(body)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_home_temporary_files_and_caches_are_on_the_only_writable_volume():
    body = manifest(Stage.TRAIN)
    variables = environment(body)
    assert {variables[name].split("/")[1] for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")} == {"scratch"}
    [scratch] = [volume for volume in body["spec"]["template"]["spec"]["volumes"] if volume["name"] == "scratch"]
    assert scratch == {"name": "scratch", "emptyDir": {}}


def test_a_service_of_the_namespace_adds_no_variable_and_the_step_knows_its_pods_uid():
    body = manifest(Stage.TRAIN)
    assert body["spec"]["template"]["spec"]["enableServiceLinks"] is False
    assert environment(body)["POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.TRAIN, Stage.GENERATE], ids=str)
def test_the_steps_that_need_a_teacher_of_our_own_get_its_token_and_its_claim(stage: Stage):
    body = manifest(stage, **LOCAL)
    token = environment(body).get("LLM2LLM_TEACHER_HF_TOKEN")
    assert token == ({"secretKeyRef": {"name": "hub", "key": "t"}} if stage is not Stage.TRAIN else None)
    assert "LLM2LLM_TEACHER_API_KEY" not in environment(body)
    assert "/mnt/claims/teachers" in {mount["mountPath"] for mount in container(body)["volumeMounts"]}


def test_overrides_are_added_and_a_steps_own_settings_win():
    body = manifest(
        Stage.TRAIN,
        podOverrides={
            "labels": {"team": "a", "llm2llm.dev/run-uid": "forged"},
            "annotations": {"note": "n"},
            "serviceAccountName": "trainer",
            "imagePullSecrets": [{"name": "registry"}],
            "env": [{"name": "A", "value": "all"}, {"name": "B", "value": "all"}, {"name": "HOME", "value": "/root"}],
            "nodeSelector": {"zone": "1", "gpu": "any"},
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "c", "persistentVolumeClaim": {"claimName": "x"}}],
            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
            "terminationGracePeriodSeconds": 120,
        },
        train={"env": [{"name": "A", "value": "train"}], "nodeSelector": {"gpu": "h200"}},
    )  # fmt: skip
    template = body["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["llm2llm.dev/run-uid"] == builders.UID
    pod = template["spec"]
    assert (environment(body)["A"], environment(body)["B"], environment(body)["HOME"]) == ("train", "all", "/scratch")
    assert pod["nodeSelector"] == {"zone": "1", "gpu": "h200"}
    assert (pod["serviceAccountName"], pod["terminationGracePeriodSeconds"]) == ("trainer", 120)
    assert pod["automountServiceAccountToken"] is False
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container(body)["volumeMounts"]


def test_what_nobody_sets_is_left_to_the_cluster():
    pod = manifest(Stage.TRAIN)["spec"]["template"]["spec"]
    left = {"nodeSelector", "tolerations", "affinity", "priorityClassName", "serviceAccountName", "imagePullSecrets"}
    assert not (left | {"terminationGracePeriodSeconds", "schedulerName"}) & pod.keys()
    assert container(manifest(Stage.TRAIN))["resources"] == {}


def test_the_tolerations_of_the_run_and_of_the_step_are_both_there():
    body = manifest(
        Stage.TRAIN,
        podOverrides={"tolerations": [{"key": "spot", "operator": "Exists"}]},
        train={"tolerations": [{"key": "gpu", "value": "h200", "effect": "NoSchedule"}]},
    )
    assert body["spec"]["template"]["spec"]["tolerations"] == [
        {"key": "spot", "operator": "Exists"},
        {"key": "gpu", "value": "h200", "effect": "NoSchedule"},
    ]


def test_a_users_credentials_stand_only_where_the_operator_sets_none():
    users = {"podOverrides": {"env": [{"name": "AWS_ACCESS_KEY_ID", "value": "mine"}]}}
    assert environment(manifest(Stage.TRAIN, **users))["AWS_ACCESS_KEY_ID"] == "mine"
    body = manifest(Stage.TRAIN, **users, artifacts=SECRETS["artifacts"])
    assert environment(body)["AWS_ACCESS_KEY_ID"]["secretKeyRef"]["name"] == "s3"
    assert [entry["name"] for entry in container(body)["env"]].count("AWS_ACCESS_KEY_ID") == 1


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.TRAIN], ids=str)
def test_only_prepare_writes_into_the_cache_of_base_models(stage: Stage):
    student = {"model": {"uri": "hf://a/b"}, "cache": {"persistentVolumeClaim": {"claimName": "models"}}}
    body = manifest(stage, student=student)
    [mount] = [mount for mount in container(body)["volumeMounts"] if mount["name"] == "models"]
    assert mount.get("readOnly", False) is (stage is Stage.TRAIN)
    assert environment(body)["LLM2LLM_MODEL_CACHE"] == mount["mountPath"]


def test_reading_the_report_of_prepare_again_does_not_write_into_the_cache():
    student = {"model": {"uri": "hf://a/b"}, "cache": {"persistentVolumeClaim": {"claimName": "models"}}}
    body = collecting(Stage.PREPARE, student=student)
    [mount] = [mount for mount in container(body)["volumeMounts"] if mount["name"] == "models"]
    assert mount["readOnly"] is True


@pytest.mark.parametrize(("stage", "uses"), [(Stage.GENERATE, {"artifacts", "teacher"}), (Stage.TRAIN, {"artifacts"})])
def test_authorities_are_mounted_where_they_are_needed(stage: Stage, uses: set[str]):
    spec = builders.spec()
    body = manifest(
        stage,
        artifacts={**spec["artifacts"], "caBundleRef": {"name": "our-ca"}},
        generate={"teacher": {**spec["generate"]["teacher"], "caBundleRef": {"name": "their-ca", "key": "root.pem"}}},
    )
    files = {"artifacts": environment(body)["AWS_CA_BUNDLE"]}
    if stage is Stage.GENERATE:
        files["teacher"] = environment(body)["LLM2LLM_TEACHER_CA_BUNDLE"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container(body)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in body["spec"]["template"]["spec"]["volumes"]}
    assert {name.removeprefix("ca-") for name in volumes if name.startswith("ca-")} == uses
    for use, file in files.items():
        folder, _, name = file.rpartition("/")
        [item] = volumes[mounts[folder]]["configMap"]["items"]
        assert (item["path"], item["key"]) == (name, {"artifacts": "ca.crt", "teacher": "root.pem"}[use])


def test_what_a_uri_names_is_mounted_once():
    body = manifest(
        Stage.TRAIN,
        artifacts={"uri": "pvc://results/runs"},
        data={"seed": {"uri": "configmap://rows/seed.jsonl"}, "evaluation": {"uri": "pvc://results/e.jsonl"}},
    )
    mounts = {mount["mountPath"]: mount["name"] for mount in container(body)["volumeMounts"]}
    assert mounts == {"/mnt/claims/results": "claim-0", "/mnt/configmaps/rows": "config-0", "/scratch": "scratch"}
    names = {volume["name"] for volume in body["spec"]["template"]["spec"]["volumes"]}
    assert names == {"claim-0", "config-0", "scratch"}


def test_only_prepare_gets_the_keys_and_authorities_of_the_sources():
    rows = {"uri": "s3://b/seed.csv", "credentialsSecretRef": {"name": "rows"}, "caBundleRef": {"name": "rows-ca"}}
    data = {"seed": rows, "test": {"uri": "s3://b/test.csv", "credentialsSecretRef": {"name": "held-out"}}}
    told = environment(manifest(Stage.PREPARE, data=data, artifacts=SECRETS["artifacts"]))
    for name, secret in (
        ("AWS_ACCESS_KEY_ID", "s3"),
        ("LLM2LLM_SEED_AWS_ACCESS_KEY_ID", "rows"),
        ("LLM2LLM_SEED_AWS_SECRET_ACCESS_KEY", "rows"),
        ("LLM2LLM_TEST_AWS_SESSION_TOKEN", "held-out"),
    ):
        assert told[name]["secretKeyRef"]["name"] == secret
    assert told["LLM2LLM_TEST_AWS_SESSION_TOKEN"]["secretKeyRef"]["optional"]
    assert told["LLM2LLM_SEED_AWS_CA_BUNDLE"] == "/mnt/ca/seed/ca.crt"
    later = environment(manifest(Stage.TRAIN, data=data, artifacts=SECRETS["artifacts"]))
    assert not [name for name in later if "SEED" in name or "TEST" in name]


def shared_memory(**changes: Any) -> list[Any]:
    body = manifest(Stage.TRAIN, **changes)
    volumes = {volume["name"]: volume for volume in body["spec"]["template"]["spec"]["volumes"]}
    mounts = [mount for mount in container(body)["volumeMounts"] if mount["mountPath"].rstrip("/") == "/dev/shm"]
    return [volumes[mount["name"]]["emptyDir"] for mount in mounts]


def test_several_gpus_have_memory_to_exchange_data_over():
    two, one = ({"resources": {"limits": {"nvidia.com/gpu": count}}} for count in ("2", "1"))
    users = {
        "volumes": [{"name": "mine", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
        "volumeMounts": [{"name": "mine", "mountPath": "/dev/shm/"}],
    }
    assert shared_memory(train=two) == [{"medium": "Memory"}]
    assert shared_memory(train=one) == shared_memory() == []
    assert shared_memory(train=two, podOverrides=users) == [{"medium": "Memory", "sizeLimit": "1Gi"}]

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage
from llm2llm_operator.build.job import job_manifest, job_name
from llm2llm_operator.model.status import CurrentStep

IMAGES = {"prepare": "p", "train": "t", "evaluate": "e", "generate": "g"}
SECRETS = {
    "artifacts": {"uri": "s3://b/runs", "credentialsSecretRef": {"name": "s3"}},
    "generate": {
        "teacher": {"model": "t", "baseUrl": "http://x/v1", "apiKeySecretRef": {"name": "teacher", "key": "api-key"}}
    },
}


def manifest(stage: Stage, **changes: Any) -> dict[str, Any]:
    run = builders.run(**changes)
    current = CurrentStep(stage=stage.value, job_name="name")
    return job_manifest(run, AugmentationRunSpec.model_validate(run.spec), current, {}, IMAGES)


def container(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(body: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(body)["env"]}


def test_names_are_deterministic_and_fit_into_a_label():
    name = job_name("a" * 40, builders.UID, StepId(Stage.GENERATE, 63), 99)
    assert name == job_name("a" * 40, builders.UID, StepId(Stage.GENERATE, 63), 99)
    assert len(name) <= 63
    assert name.endswith("-i063-generate-a99")
    assert job_name("r", builders.UID, StepId(Stage.PREPARE), 0).endswith("-prepare-a0")


def test_a_run_of_the_same_name_with_another_uid_has_other_jobs():
    assert job_name("r", "u1", StepId(Stage.TRAIN), 0) != job_name("r", "u2", StepId(Stage.TRAIN), 0)


def test_the_job_has_no_retries_of_its_own_and_replaces_only_ended_pods():
    spec = manifest(Stage.TRAIN)["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "Ignore", "FailJob"]
    assert spec["podFailurePolicy"]["rules"][2]["onExitCodes"]["values"] == list(range(64, 73))


def test_the_owner_is_the_run_and_does_not_block_its_deletion():
    owner = manifest(Stage.TRAIN)["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (builders.UID, True, False)


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


def test_a_step_document_that_does_not_fit_is_refused():
    labels = [f"{number:04}" + "x" * 246 for number in range(1000)]
    with pytest.raises(ValueError, match="more than the limit of 65536"):
        manifest(Stage.TRAIN, task={"promptTemplate": "{{ prompt }}", "labels": labels})


def test_pods_satisfy_restricted_and_get_no_api_token():
    body = manifest(Stage.TRAIN)
    pod = body["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(body)["securityContext"]["readOnlyRootFilesystem"] is True


def test_an_image_in_the_step_block_wins_over_the_pinned_one():
    assert container(manifest(Stage.TRAIN))["image"] == "t"
    assert container(manifest(Stage.TRAIN, train={"image": "mine"}))["image"] == "mine"


LOCAL: dict[str, Any] = {
    "generate": {
        "mode": "Local",
        "teacher": {
            "model": "m",
            "source": {"uri": "pvc://teachers/big", "tokenSecretRef": {"name": "hub", "key": "t"}},
        },
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    },
    "scheduling": {"queueName": "gpu"},
}


def test_a_teacher_of_our_own_runs_in_the_image_that_holds_vllm():
    assert container(manifest(Stage.GENERATE))["image"] == "g"
    body = manifest(Stage.GENERATE, **LOCAL)
    assert container(body)["image"] == "e"
    assert container(body)["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    mine = {"generate": LOCAL["generate"] | {"image": "mine"}}
    assert container(manifest(Stage.GENERATE, **mine))["image"] == "mine"


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.TRAIN, Stage.GENERATE], ids=str)
def test_the_steps_that_need_a_teacher_of_our_own_get_its_token_and_its_claim(stage: Stage):
    body = manifest(stage, **LOCAL)
    token = environment(body).get("LLM2LLM_TEACHER_HF_TOKEN")
    assert token == ({"secretKeyRef": {"name": "hub", "key": "t"}} if stage is not Stage.TRAIN else None)
    assert "LLM2LLM_TEACHER_API_KEY" not in environment(body)
    assert "/mnt/claims/teachers" in {mount["mountPath"] for mount in container(body)["volumeMounts"]}


def test_the_queue_label_is_on_the_job_of_a_gpu_step_and_not_on_prepare():
    queue = {"scheduling": {"queueName": "gpu"}}
    assert manifest(Stage.TRAIN, **queue)["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert "kueue.x-k8s.io/queue-name" not in manifest(Stage.PREPARE, **queue)["metadata"]["labels"]


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


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.TRAIN], ids=str)
def test_only_prepare_writes_into_the_cache_of_base_models(stage: Stage):
    student = {"model": {"uri": "hf://a/b"}, "cache": {"persistentVolumeClaim": {"claimName": "models"}}}
    body = manifest(stage, student=student)
    [mount] = [mount for mount in container(body)["volumeMounts"] if mount["name"] == "models"]
    assert mount.get("readOnly", False) is (stage is Stage.TRAIN)
    assert environment(body)["LLM2LLM_MODEL_CACHE"] == mount["mountPath"]


def test_the_priority_of_a_workload_is_for_kueue_and_affinity_for_the_scheduler():
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    body = manifest(
        Stage.TRAIN,
        scheduling={"queueName": "gpu", "workloadPriorityClassName": "high"},
        podOverrides={"affinity": affinity},
    )
    assert body["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    assert body["spec"]["template"]["spec"]["affinity"] == affinity


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

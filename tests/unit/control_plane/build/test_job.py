from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders
from tests.support.manifests import LOCAL, collecting, container, manifest

from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage
from llm2llm_operator.build.job import job_name


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
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (builders.UID, True, True)


def test_a_step_document_that_does_not_fit_is_refused():
    labels = [f"{number:04}" + "x" * 246 for number in range(1000)]
    with pytest.raises(ValueError, match="more than the limit of 65536"):
        manifest(Stage.TRAIN, task={"promptTemplate": "{{ prompt }}", "labels": labels})


def test_an_image_in_the_step_block_wins_over_the_pinned_one():
    assert container(manifest(Stage.TRAIN))["image"] == "t"
    assert container(manifest(Stage.TRAIN, train={"image": "mine"}))["image"] == "mine"


def test_a_teacher_of_our_own_runs_in_the_image_that_holds_vllm():
    assert container(manifest(Stage.GENERATE))["image"] == "g"
    body = manifest(Stage.GENERATE, **LOCAL)
    assert container(body)["image"] == "e"
    assert container(body)["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    mine = {"generate": LOCAL["generate"] | {"image": "mine"}}
    assert container(manifest(Stage.GENERATE, **mine))["image"] == "mine"


GPU = {"limits": {"nvidia.com/gpu": "1"}}


@pytest.mark.parametrize(
    ("stage", "changes", "of_gpus"),
    [
        (Stage.PREPARE, {}, False),
        (Stage.PREPARE, {"prepare": {"resources": GPU}}, False),
        (Stage.TRAIN, {}, True),
        (Stage.EVALUATE, {}, True),
        (Stage.TEST, {}, True),
        (Stage.GENERATE, {}, False),
        (Stage.GENERATE, LOCAL, True),
    ],
    ids=str,
)
def test_a_job_waits_in_the_queue_of_gpus_or_in_that_of_cpus(stage: Stage, changes: dict[str, Any], of_gpus: bool):
    def queue(**scheduling: str) -> str | None:
        body = manifest(stage, **(changes | {"scheduling": scheduling}))
        found: str | None = body["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
        return found

    assert queue() is None
    assert queue(queueName="gpu") == ("gpu" if of_gpus else None)
    assert queue(cpuQueueName="cpu") == (None if of_gpus else "cpu")
    assert queue(queueName="gpu", cpuQueueName="cpu") == ("gpu" if of_gpus else "cpu")


def test_a_job_without_a_queue_name_keeps_its_priority_for_the_default_queue_of_its_namespace():
    priority = {"scheduling": {"workloadPriorityClassName": "high"}}
    label = "kueue.x-k8s.io/priority-class"
    assert manifest(Stage.TRAIN, **priority)["metadata"]["labels"][label] == "high"
    assert label not in manifest(Stage.PREPARE, **priority)["metadata"]["labels"]


def test_collect_asks_for_no_gpu():
    labels = collecting(Stage.TRAIN, scheduling={"queueName": "gpu", "cpuQueueName": "cpu"})["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "cpu"


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

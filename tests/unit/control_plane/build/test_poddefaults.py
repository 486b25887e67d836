"""What the operator's settings add to the pods of steps, and what a run keeps for itself."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.manifests import LOCAL, container, manifest, manifest_with

from llm2llm.api.pods import Resources
from llm2llm.records import Kind, Stage
from llm2llm_operator.build.poddefaults import PodDefaults, merge_resources

SMALL = Resources(requests={"cpu": "1", "memory": "4Gi"})


@pytest.mark.parametrize(
    ("own", "default", "merged"),
    [
        pytest.param({}, None, {}, id="nothing is set by anybody"),
        pytest.param({}, SMALL, {"requests": {"cpu": "1", "memory": "4Gi"}}, id="the operator's where a run has none"),
        pytest.param(
            {"limits": {"nvidia.com/gpu": "1"}},
            SMALL,
            {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"nvidia.com/gpu": "1"}},
            id="beside the GPUs of the run",
        ),
        pytest.param(
            {"requests": {"memory": "64Gi"}},
            SMALL,
            {"requests": {"cpu": "1", "memory": "64Gi"}},
            id="a request of the run wins",
        ),
        pytest.param(
            {"limits": {"memory": "2Gi"}},
            SMALL,
            {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
            id="no default request is larger than a limit of the run",
        ),
        pytest.param(
            {"requests": {"memory": "64Gi"}},
            Resources(requests={"memory": "4Gi"}, limits={"memory": "8Gi", "cpu": "4"}),
            {"requests": {"memory": "64Gi"}, "limits": {"cpu": "4"}},
            id="no default limit is smaller than a request of the run",
        ),
    ],
)
def test_the_resources_of_a_step_are_its_own_and_the_defaults_of_those_that_it_does_not_name(
    own: dict[str, Any], default: Resources | None, merged: dict[str, Any]
):
    assert merge_resources(Resources.model_validate(own), default) == merged


BY_BLOCK = PodDefaults(
    resources={name: Resources(requests={"cpu": str(n)}) for n, name in enumerate(("prepare", "train", "evaluate", "generate"))}
)  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "kind", "cpus"),
    [
        pytest.param(Stage.PREPARE, Kind.RUN, "0", id="prepare"),
        pytest.param(Stage.TRAIN, Kind.RUN, "1", id="train"),
        pytest.param(Stage.EVALUATE, Kind.RUN, "2", id="evaluate"),
        pytest.param(Stage.TEST, Kind.RUN, "2", id="the test has the block of evaluate"),
        pytest.param(Stage.GENERATE, Kind.RUN, "3", id="generate"),
        pytest.param(Stage.TRAIN, Kind.COLLECT, "0", id="reading a report again has the block of prepare"),
    ],
)
def test_each_step_has_the_defaults_of_its_block(stage: Stage, kind: Kind, cpus: str):
    body = manifest_with(BY_BLOCK, stage, kind=kind)
    assert container(body)["resources"] == {"requests": {"cpu": cpus}}


def test_a_teacher_of_its_own_has_the_defaults_of_generate_though_its_image_is_that_of_evaluate():
    body = manifest_with(BY_BLOCK, Stage.GENERATE, LOCAL)
    assert container(body)["resources"] == {"requests": {"cpu": "3"}, "limits": {"nvidia.com/gpu": "1"}}


PULLING = PodDefaults(pull_secrets=("mirror", "hub"), pull_policy="Always")


def test_images_are_pulled_with_the_secrets_of_the_run_and_then_those_of_the_operator():
    pod = manifest_with(PULLING, Stage.TRAIN)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "mirror"}, {"name": "hub"}]
    own = {"podOverrides": {"imagePullSecrets": [{"name": "mine"}, {"name": "hub"}]}}
    pod = manifest_with(PULLING, Stage.TRAIN, own)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "mine"}, {"name": "hub"}, {"name": "mirror"}]


def test_the_pull_policy_is_of_the_operators_images_and_not_of_one_that_a_run_names():
    assert container(manifest_with(PULLING, Stage.TRAIN))["imagePullPolicy"] == "Always"
    assert "imagePullPolicy" not in container(manifest_with(PULLING, Stage.TRAIN, {"train": {"image": "mine:1"}}))
    assert "imagePullPolicy" not in container(manifest(Stage.TRAIN))


def test_without_defaults_a_job_is_what_it_was_before_there_were_any():
    assert manifest_with(PodDefaults(), Stage.TRAIN) == manifest(Stage.TRAIN)
    assert container(manifest(Stage.TRAIN))["resources"] == {}

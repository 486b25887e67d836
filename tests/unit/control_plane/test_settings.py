from __future__ import annotations

import pytest

from llm2llm.api.pods import Resources
from llm2llm.loop.stages import STAGES
from llm2llm_operator.build.poddefaults import PodDefaults
from llm2llm_operator.settings import Settings

ALONE = {"LLM2LLM_LEADER_ELECTION": "false"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({}, "LLM2LLM_NAMESPACE must be", id="an election needs a namespace for its lease"),
        pytest.param({"LLM2LLM_LEADER_ELECTION": "no"}, "must be true or false", id="neither true nor false"),
        pytest.param({"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_KUEUE": "1"}, "LLM2LLM_KUEUE must be", id="nor is this"),
        pytest.param({"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_FS_GROUP": "-1"}, "LLM2LLM_FS_GROUP must be", id="no group"),
        pytest.param(
            {"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_FS_GROUP": "1.0009e+09"}, "not '1.0009e", id="as helm may write it"
        ),
        pytest.param(
            {"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_LOG_FORMAT": "xml"},
            "must be json or text",
            id="no such format of logs",
        ),
        pytest.param({"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_WORKERS": "x"}, "LLM2LLM_WORKERS", id="not a number"),
        pytest.param({"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_WORKERS": "0"}, "WORKERS must be at least 1", id="nobody"),
        pytest.param({"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_WRITE_RATE": "nan"}, "must be at least 0.1", id="no rate"),
        pytest.param(
            {"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_IMAGE_PULL_POLICY": "always"}, "not 'always'", id="no policy"
        ),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], words: str):
    with pytest.raises(ValueError, match=words):
        Settings.from_environment(environment)


def test_an_election_is_held_unless_it_is_switched_off():
    assert Settings.from_environment({"LLM2LLM_NAMESPACE": "ns"}).leader_election
    assert not Settings.from_environment({"LLM2LLM_LEADER_ELECTION": "false"}).leader_election


@pytest.mark.parametrize(("value", "group"), [("", None), ("0", 0), ("1000900000", 1000900000)])
def test_the_group_of_the_volumes_is_the_charts_or_the_clusters(value: str, group: int | None):
    assert Settings.from_environment(ALONE).pod_defaults.fs_group == 65532
    assert Settings.from_environment(ALONE | {"LLM2LLM_FS_GROUP": value}).pod_defaults.fs_group == group


def test_a_namespace_that_is_named_twice_is_watched_once():
    assert Settings.from_environment(ALONE | {"LLM2LLM_NAMESPACES": "b, a,b,"}).namespaces == ("b", "a")


def test_there_is_an_image_to_set_for_each_that_a_stage_runs_in():
    images = Settings.from_environment(ALONE).images
    assert {stage.value.lower() for stage in images} == {traits.image for traits in STAGES.values()}


def test_a_chart_that_sets_nothing_for_the_steps_pods_adds_nothing_to_them():
    unset = {"LLM2LLM_IMAGE_PULL_SECRETS": "", "LLM2LLM_IMAGE_PULL_POLICY": "", "LLM2LLM_STEP_RESOURCES": "{}"}
    for environment in (ALONE, ALONE | unset):
        assert Settings.from_environment(environment).pod_defaults == PodDefaults(fs_group=65532)


def test_defaults_of_the_steps_pods_are_read_with_quantities_as_kubernetes_writes_them():
    resources = '{"train": {"requests": {"cpu": 1.5, "memory": 8589934592}, "limits": {"memory": "16Gi"}}}'
    found = Settings.from_environment(
        ALONE
        | {
            "LLM2LLM_IMAGE_PULL_SECRETS": "mirror,hub",
            "LLM2LLM_IMAGE_PULL_POLICY": "Always",
            "LLM2LLM_STEP_RESOURCES": resources,
        }
    ).pod_defaults
    assert (found.pull_secrets, found.pull_policy) == (("mirror", "hub"), "Always")
    requests = {"cpu": "1.5", "memory": "8589934592"}
    assert found.resources == {"train": Resources(requests=requests, limits={"memory": "16Gi"})}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("train", "must be a JSON object, not 'train'", id="no JSON"),
        pytest.param("[]", "STEP_RESOURCES: .*valid dictionary", id="no object"),
        pytest.param('{"test": {}}', "test is not one of prepare, train, evaluate, generate", id="no step block"),
        pytest.param('{"train": {"request": {}}}', "train.request: ", id="a field that no container has"),
        pytest.param('{"train": {"requests": {"cpu": "two"}}}', "train.requests.cpu: ", id="no quantity"),
        pytest.param('{"train": {"limits": {"amd.com/gpu": 1}}}', "train must not set amd.com/gpu", id="a GPU"),
    ],
)
def test_default_resources_that_no_pod_could_have_are_named(text: str, words: str):
    with pytest.raises(ValueError, match=words):
        Settings.from_environment(ALONE | {"LLM2LLM_STEP_RESOURCES": text})

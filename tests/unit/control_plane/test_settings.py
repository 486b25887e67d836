from __future__ import annotations

import pytest

from llm2llm.loop.stages import STAGES
from llm2llm_operator.settings import Settings


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
        pytest.param({"LLM2LLM_LOG_FORMAT": "xml"}, "must be json or text", id="no such format of logs"),
        pytest.param({"LLM2LLM_NAMESPACE": "ns", "LLM2LLM_WORKERS": "x"}, "LLM2LLM_WORKERS", id="not a number"),
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
    alone = {"LLM2LLM_LEADER_ELECTION": "false"}
    assert Settings.from_environment(alone).fs_group == 65532
    assert Settings.from_environment(alone | {"LLM2LLM_FS_GROUP": value}).fs_group == group


def test_a_namespace_that_is_named_twice_is_watched_once():
    environment = {"LLM2LLM_LEADER_ELECTION": "false", "LLM2LLM_NAMESPACES": "b, a,b,"}
    assert Settings.from_environment(environment).namespaces == ("b", "a")


def test_there_is_an_image_to_set_for_each_that_a_stage_runs_in():
    images = Settings.from_environment({"LLM2LLM_LEADER_ELECTION": "false"}).images
    assert {stage.value.lower() for stage in images} == {traits.image for traits in STAGES.values()}

"""Whether a Job was made from settings that have been edited since."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.build.settings import is_outdated, settings_of
from llm2llm_operator.model.status import CurrentStep

TRAIN = CurrentStep(stage="Train", iteration=0)
IMAGES = {"prepare": "p:1", "train": "t:1", "evaluate": "e:1", "generate": "g:1"}


def settings(step: CurrentStep = TRAIN, generation: int = 1, **changes: Any) -> str:
    return settings_of(generation, AugmentationRunSpec.model_validate(builders.spec(**changes)), step, IMAGES)


def outdated(edit: dict[str, Any], step: CurrentStep = TRAIN, before: dict[str, Any] | None = None) -> bool:
    spec = AugmentationRunSpec.model_validate(builders.spec(**edit))
    return is_outdated(settings(step, **(before or {})), 2, spec, step, IMAGES)


@pytest.mark.parametrize(
    "edit",
    [
        {"scheduling": {"queueName": "gpus"}},
        {"scheduling": {"workloadPriorityClassName": "high"}},
        {"scheduling": {"priorityClassName": "high"}},
        {"train": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
        {"train": {"image": "mine:2"}},
        {"train": {"nodeSelector": {"gpu": "h100"}}},
        {"train": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
        {"train": {"env": [{"name": "A", "value": "1"}]}},
        {"train": {"progressDeadlineSeconds": 60}},
        {"podOverrides": {"env": [{"name": "A", "value": "1"}]}},
        {"podOverrides": {"labels": {"team": "a"}}},
        {"artifacts": {"uri": "s3://b/runs", "endpoint": "https://other"}},
    ],
    ids=str,
)
def test_an_edit_of_what_a_job_is_made_from_makes_it_outdated(edit: dict[str, Any]):
    assert outdated(edit)
    assert not outdated(edit, before=edit)


@pytest.mark.parametrize(
    "edit",
    [
        {"maxIterations": 5},
        {"suspend": True},
        {"retry": 1},
        {"maxDisruptions": 3},
        {"retries": {"transient": 7}},
        {"budget": {"maxTeacherTokens": 5, "onExceeded": "Suspend"}},
        {"ttlSecondsAfterFinished": 60},
        {"train": {"startupDeadlineSeconds": 60, "activeDeadlineSeconds": 60}},
        {"evaluate": {"env": [{"name": "A", "value": "1"}]}},
        {"generate": {"teacher": {"model": "t", "baseUrl": "http://other/v1"}}},
        {"tracking": {"mlflow": {"uri": "https://mlflow"}}},
    ],
    ids=str,
)
def test_an_edit_that_the_job_need_not_know_of_does_not(edit: dict[str, Any]):
    assert not outdated(edit)


def test_each_step_has_its_own_settings():
    evaluate, generate = CurrentStep(stage="Evaluate"), CurrentStep(stage="Generate")
    edit = {"evaluate": {"env": [{"name": "A", "value": "1"}]}}
    assert [outdated(edit, step) for step in (TRAIN, evaluate, CurrentStep(stage="Test"), generate)] == [
        False,
        True,
        True,
        False,
    ]
    teacher = {"generate": {"teacher": {"model": "t", "baseUrl": "http://other/v1"}}}
    assert outdated(teacher, generate)
    tracking = {"tracking": {"mlflow": {"uri": "https://mlflow"}}}
    assert [outdated(tracking, step) for step in (evaluate, CurrentStep(stage="Test"), generate)] == [True, True, False]
    assert outdated({"prepare": {"image": "x"}}, CurrentStep(stage="Train", kind="Collect"))
    assert outdated({"budget": {"maxTeacherTokens": 5, "onExceeded": "Suspend"}}, generate)


@pytest.mark.parametrize(
    "edit",
    [
        {"maxIterations": 5},
        {"generate": {"teacher": {"model": "t", "baseUrl": "http://teacher/v1", "apiKeySecretRef": {"name": "mended", "key": "k"}}}},
        {"train": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}},
    ],
    ids=str,
)  # fmt: skip
def test_prepare_checks_what_all_steps_need(edit: dict[str, Any]):
    assert outdated(edit, CurrentStep(stage="Prepare"))


def test_defaults_that_the_api_server_fills_in_are_no_edit():
    assert not outdated({"train": {"env": [], "progressDeadlineSeconds": 1800}, "podOverrides": {}})


@pytest.mark.parametrize("unknown", ["", "7"])
def test_nothing_is_known_of_a_job_of_an_earlier_release(unknown: str):
    spec = AugmentationRunSpec.model_validate(builders.spec())
    assert not is_outdated(unknown, 2, spec, TRAIN, IMAGES)

"""What defines the experiment cannot change once a run exists, neither by a new value nor by removing or adding it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster, RequestError
from tests.support import builders
from tests.support.runs import MERGE_PATCH, Runs

from llm2llm.api.run import identity_paths

OTHER: dict[str, Any] = {
    "randomSeed": 7,
    "task": {"promptTemplate": "{{ prompt }}?", "grader": {"type": "ExactMatch"}},
    "data.seed.uri": "s3://b/other.jsonl",
    "data.seed.fields": {"prompt": "question"},
    "data.seed.sample": {"count": 5},
    "data.evaluation.uri": "s3://b/held-out.jsonl",
    "data.evaluation.fields": {"prompt": "question", "completion": "answer"},
    "data.evaluation.sample": {"count": 5},
    "data.test.fromSeed": {"count": 5},
    "student.model": {"uri": "s3://b/other"},
    "student.trustRemoteCode": True,
    "startFrom": "PreviousIteration",
    "augmentFrom": "SeedAndSynthetic",
    "errorsFrom": "Probe",
    "artifacts.uri": "s3://b/elsewhere",
    "artifacts.key": "other",
    "train.method": "QLoRA",
    "train.lora": {"r": 8},
    "train.hyperparameters": {"learningRate": "1e-4"},
    "train.minSteps": 5,
    "train.precision": "bf16",
    "evaluate.engine": "Transformers",
    "evaluate.precision": "fp32",
    "evaluate.sampling": {"maxTokens": 16},
    "generate.teacher.model": "other",
    "generate.teacher.parameters": {"temperature": "1"},
    "generate.instructions": "Other.",
    "generate.examplesPerMistake": 4,
    "generate.strategy": "Untargeted",
    "generate.rowsPerRound": 40,
    "generate.filters": {"minAcceptance": "0.5"},
}
"""Another value than `builders.spec` has, which is the default for most."""
ONE_OF_TWO = {"data.evaluation.fromSeed", "data.test.uri", "data.test.fields", "data.test.sample"}
"""The other way to get a held-out set; these are the rules of evaluation and test."""
REQUIRED = {"task", "data.seed.uri", "student.model", "artifacts.uri", "generate.teacher.model"}
APART = {"errorsFrom"}
"""Another value that cannot stand beside the others': a run of its own has it."""
LOCAL: dict[str, Any] = {
    "generate.mode": "Local",
    "generate.teacher.source.uri": "s3://b/teacher",
    "generate.teacher.source.revision": "v1",
}
"""Of a run with a teacher of its own, which cannot have what a run with an endpoint has."""
OPERATIONAL: dict[str, Any] = {
    "suspend": True,
    "maxIterations": 3,
    "retry": 1,
    "objective": {"goal": "0.9"},
    "earlyStopping": {"patience": 3},
    "artifacts.credentialsSecretRef": {"name": "other"},
    "artifacts.endpoint": "http://minio:9000",
    "artifacts.retention": "BestAndLast",
    "data.seed.credentialsSecretRef": {"name": "rows"},
    "data.seed.endpoint": "http://minio:9000",
    "student.tokenSecretRef": {"name": "hub", "key": "token"},
    "train.image": "trainer:2",
    "train.resources": {"limits": {"memory": "1Gi"}},
    "train.checkpoint": {"keep": 3},
    "train.env": [{"name": "A", "value": "1"}],
    "evaluate.activeDeadlineSeconds": 60,
    "generate.teacher.baseUrl": "http://other/v1",
    "generate.teacher.apiKeySecretRef": {"name": "other", "key": "key"},
    "generate.limits": {"maxConcurrentRequests": 1},
    "retries": {"transient": 9},
    "approval": {"mode": "BeforeTraining"},
    "budget": {"maxTeacherTokens": 1000, "onExceeded": "Complete"},
    "reuseFrom": [{"uri": "s3://b/runs/team/other"}],
    "ttlSecondsAfterFinished": 60,
    "student.cache": {"persistentVolumeClaim": {"claimName": "models"}},
    "train.progressDeadlineSeconds": 600,
    "evaluate.tensorParallelSize": 2,
    "generate.teacher.extraHeaders": {"x-team": "a"},
    "scheduling": {"queueName": "gpu"},
    "podOverrides": {"labels": {"a": "b"}},
}


def at(path: str, value: Any) -> dict[str, Any]:
    """A document with this value at this path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {name: merged(old[name], new[name]) for name in old.keys() & new.keys() if isinstance(old[name], dict)}
    return old | new | both


class TwoRuns:
    """`plain` has only what it must have, `full` another value everywhere; `local` has a teacher of its own."""

    def __init__(self, api: Cluster) -> None:
        self.runs = Runs(api, "transitions")
        self.runs.create("plain")
        full = builders.spec()
        for path, value in OTHER.items():
            full = full if path in APART else merged(full, at(path, value))
        self.runs.create("full", **full)
        for path in APART:
            self.runs.create(path.lower(), **merged(builders.spec(), at(path, OTHER[path])))
        local = builders.spec()
        local["generate"] = {
            "mode": "Local",
            "teacher": {"model": "m", "source": {"uri": "s3://b/t", "revision": "v1"}},
        }
        self.runs.create("local", **local)

    def answer(self, name: str, path: str, value: Any) -> str:
        """What the API server says to such a change; empty where it would take it."""
        where = f"/apis/llm2llm.dev/v1alpha1/namespaces/transitions/augmentationruns/{name}?dryRun=All"
        try:
            self.runs.cluster.request("PATCH", where, {"spec": at(path, value)}, content_type=MERGE_PATCH)
        except RequestError as error:
            return error.message
        return ""


@pytest.fixture(scope="module")
def two(api: Cluster) -> Iterator[TwoRuns]:
    api.create_namespace("transitions")
    yield TwoRuns(api)
    api.request("DELETE", "/api/v1/namespaces/transitions")


def test_every_identity_field_is_tried_here():
    assert {".".join(path) for path in identity_paths()} == OTHER.keys() | ONE_OF_TWO | LOCAL.keys()


@pytest.mark.parametrize("path", OTHER)
def test_fault_16_an_identity_field_cannot_get_another_value(two: TwoRuns, path: str):
    assert f"spec.{path} defines the experiment and cannot change: create another run" in two.answer(
        "plain", path, OTHER[path]
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("generate.mode", "Online"),
        ("generate.mode", None),
        ("generate.teacher.source.uri", "s3://b/other"),
        ("generate.teacher.source.revision", "v2"),
        ("generate.teacher.source.revision", None),
    ],
)
def test_fault_16_nor_can_the_teacher_of_a_local_run(two: TwoRuns, path: str, value: str | None):
    assert f"spec.{path} defines the experiment and cannot change: create another run" in two.answer(
        "local", path, value
    )


@pytest.mark.parametrize("name", ["plain", "local"])
def test_fault_16_an_endpoint_and_a_teacher_of_ones_own_cannot_be_exchanged(two: TwoRuns, name: str):
    other = {
        "plain": {"source": {"uri": "s3://b/t"}, "baseUrl": None},
        "local": {"source": None, "baseUrl": "http://t/v1"},
    }
    message = "spec.generate.teacher.source.uri defines the experiment and cannot change"
    assert message in two.answer(name, "generate.teacher", other[name])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("generate.tensorParallelSize", 2),
        ("generate.teacher.source.tokenSecretRef", {"name": "hub", "key": "token"}),
        ("generate.resources", {"limits": {"nvidia.com/gpu": "2"}}),
    ],
)
def test_fault_16_what_a_local_teacher_runs_on_can_change(two: TwoRuns, path: str, value: Any):
    assert two.answer("local", path, value) == ""


@pytest.mark.parametrize("path", [path for path in OTHER if path not in REQUIRED])
def test_fault_16_an_identity_field_cannot_be_removed(two: TwoRuns, path: str):
    name = path.lower() if path in APART else "full"
    assert f"spec.{path} defines the experiment and cannot change: create another run" in two.answer(name, path, None)


@pytest.mark.parametrize("path", ["train", "evaluate", "data.evaluation", "data.test"])
def test_fault_16_nor_can_the_block_that_it_is_in(two: TwoRuns, path: str):
    assert f"spec.{path}." in two.answer("full", path, None)


@pytest.mark.parametrize("path", OPERATIONAL)
def test_fault_16_an_operational_field_can_change(two: TwoRuns, path: str):
    assert two.answer("plain", path, OPERATIONAL[path]) == ""

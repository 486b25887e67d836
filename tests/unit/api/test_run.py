"""What is stored is read tolerantly, what a user wrote is not: a newer CRD's field fails no run of an older operator."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.keys import content_key
from llm2llm.errors import InvalidManifest
from llm2llm.manifests.problems import validate_spec
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step


def blocks(document: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a spec, with its path."""
    yield path, document
    for name, value in document.items():
        if isinstance(value, dict):
            yield from blocks(value, f"{path}.{name}")
        elif isinstance(value, list):
            for place, entry in enumerate(value):
                if isinstance(entry, dict):
                    yield from blocks(entry, f"{path}.{name}[{place}]")


def written() -> dict[str, Any]:
    return builders.spec(
        budget={"prices": {"inputPerMillion": "1", "outputPerMillion": "2"}},
        podOverrides={"tolerations": [{"key": "gpu", "operator": "Exists"}]},
        reuseFrom=[{"uri": "s3://b/runs/other"}],
    )


PATHS = [path for path, _ in blocks(written())]


def with_newer_field(path: str) -> dict[str, Any]:
    spec = copy.deepcopy(written())
    dict(blocks(spec))[path]["ofNextYear"] = {"any": ["thing"]}
    return spec


@pytest.mark.parametrize("path", PATHS)
def test_a_stored_spec_with_a_field_of_a_newer_release_is_the_same_experiment(path: str):
    def key(spec: dict[str, Any]) -> str:
        return content_key(Step.of(StepDocument(stage=Stage.TRAIN, namespace="ns", run="r", run_uid="u", spec=spec)))

    free_form = path.endswith(("fields", "parameters"))
    assert free_form or AugmentationRunSpec.model_validate(
        with_newer_field(path)
    ) == AugmentationRunSpec.model_validate(written())
    assert key(with_newer_field(path)) == key(written())


@pytest.mark.parametrize("path", PATHS)
def test_what_a_user_wrote_is_refused_with_the_path_of_the_unknown_field(path: str):
    document = {"apiVersion": "llm2llm.dev/v1alpha1", "kind": "AugmentationRun", "metadata": {"name": "r"}}
    with pytest.raises(InvalidManifest) as refused:
        validate_spec(document | {"spec": with_newer_field(path)})
    assert any(problem.startswith(f"{path}.ofNextYear: unknown field") for problem in refused.value.problems)


def test_runs_of_a_newer_crd_run_and_finished_ones_stay_finished():
    world = World(spec=with_newer_field("spec.generate"))
    for _ in range(10):
        world.settle()
        if world.status["phase"] == "Succeeded":
            break
        world.start()
        world.settle()
        world.succeed()
    assert world.status["phase"] == "Succeeded"
    world.spec = with_newer_field("spec.task")
    world.settle()
    assert world.status["phase"] == "Succeeded"
    assert "Failed" not in [condition["type"] for condition in world.status["conditions"]]

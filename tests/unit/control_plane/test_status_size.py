from __future__ import annotations

import json

from tests.support import builders
from tests.unit.control_plane.world import World

from llm2llm.records import Paired
from llm2llm_operator.resource import RunStatus

LONGEST = {
    "metrics": tuple(
        builders.accuracy(0.7, dataset, 10**7).model_copy(update={"name": name})
        for dataset in ("seed", "synthetic", "evaluation")
        for name in ("accuracy", "macroF1")
    ),
    "paired": Paired(against=63, dataset="evaluation", examples=10**7, gained=10**6, lost=10**6),
    "learnt": 10**6,
    "forgotten": 10**6,
}
"""As much as an evaluation can tell."""


def test_fault_40_a_status_of_64_iterations_stays_below_128_kib():
    world = World(spec=builders.spec(maxIterations=64))
    for _ in range(400):
        world.settle()
        if world.status["phase"] == "Succeeded":
            break
        world.start()
        world.settle()
        world.succeed(**LONGEST if world.status["currentStep"]["stage"] == "Evaluate" else {})
    assert len(world.status["iterations"]) == 64
    assert len(json.dumps(world.status)) < 128 * 1024
    assert max(len(json.dumps(row)) for row in world.status["iterations"]) < 2048


def test_fault_41_fields_that_a_newer_operator_wrote_are_kept():
    status = RunStatus.model_validate(
        {"phase": "Running", "fromTheFuture": {"a": 1}, "iterations": [{"index": 0, "x": 2}]}
    )
    written = status.model_dump(mode="json", by_alias=True)
    assert written["fromTheFuture"] == {"a": 1}
    assert written["iterations"][0]["x"] == 2

"""What status says of the score that a run is judged by."""

from __future__ import annotations

import json

from tests.support import builders
from tests.support.manifests import environment
from tests.support.world import World

from llm2llm.records import Metric, Paired

LABELED = {"promptTemplate": "x", "grader": {"type": "Choice"}, "labels": ["a", "b"]}


def both(accuracy: float, f1: float, dataset: str = "evaluation") -> tuple[Metric, Metric]:
    told = builders.accuracy(accuracy, dataset)
    return told, builders.accuracy(f1, dataset).model_copy(update={"name": "macroF1"})


def ended(world: World, *scores: tuple[float, float]) -> World:
    """The world after so many iterations with these scores, and a test."""
    for _ in range(20):
        world.settle()
        if world.status["phase"] == "Succeeded":
            break
        step = world.status["currentStep"]
        match step["stage"]:
            case "Evaluate":
                world.succeed(metrics=both(*scores[step["iteration"]]))
            case "Test":
                world.succeed(metrics=both(0.69, 0.61, "test"))
            case _:
                world.succeed()
    return world


def test_best_and_test_are_told_by_the_objective_s_metric():
    data = {**builders.spec()["data"], "test": {"uri": "s3://b/test.jsonl"}}
    world = World(spec=builders.spec(task=LABELED, data=data, objective={"metric": "macroF1"}))
    ended(world, (0.7, 0.6), (0.8, 0.5))
    assert [world.status["best"][name] for name in ("iteration", "metric", "value")] == [0, "macroF1", "0.6000"]
    assert [world.status["test"][name] for name in ("iteration", "metric", "value")] == [0, "macroF1", "0.6100"]
    assert world.status["summary"]["accuracy"] == "macroF1 0.600 [0.550, 0.650]"


def test_mistakes_are_told_with_the_rows_that_they_are_among():
    world = World(spec=builders.spec(augmentFrom="SeedAndSynthetic", maxIterations=1))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    pool = (builders.accuracy(0.9, "seed", 40), builders.accuracy(0.8, "synthetic", 25))
    world.succeed(metrics=(*pool, builders.accuracy(0.7)), mistakes=9)
    world.settle()
    assert world.status["summary"]["mistakes"] == "9/65"
    assert world.status["best"]["dataset"] == "evaluation"


def test_another_objective_makes_another_iteration_best():
    world = ended(World(spec=builders.spec(task=LABELED)), (0.7, 0.6), (0.8, 0.5))
    assert world.status["best"]["iteration"] == 1
    assert world.status["summary"]["accuracy"] == "0.800 [0.750, 0.850]"
    world.spec = {**world.spec, "objective": {"metric": "macroF1"}}
    world.settle()
    assert (world.status["best"]["iteration"], world.status["phase"]) == (0, "Succeeded")


def test_an_evaluation_gets_those_that_it_is_compared_with_and_status_keeps_what_it_told():
    world = World(spec=builders.spec(maxIterations=4))
    for _ in range(11):  # Prepare, three iterations of three steps, the fourth's training
        world.settle()
        step = world.status["currentStep"]
        paired = Paired(against=0, dataset="evaluation", examples=100, gained=12, lost=11)
        told = (
            {"paired": paired, "learned": 3, "forgotten": 1}
            if step["stage"] == "Evaluate" and step["iteration"]
            else {}
        )
        world.succeed(**told)
    world.settle()
    document = json.loads(environment(world.created[-1])["LLM2LLM_STEP"])
    assert [folder for folder in sorted(document["parents"]) if "evaluate" in folder] == [
        "iterations/000/evaluate",
        "iterations/002/evaluate",
    ]
    row = world.status["iterations"][1]
    assert row["paired"] == {"against": 0, "dataset": "evaluation", "examples": 100, "gained": 12, "lost": 11}
    assert (row["learned"], row["forgotten"]) == (3, 1)
    assert "paired" not in world.status["iterations"][0]

from __future__ import annotations

from tests.support import builders
from tests.support.world import World, run_to_the_end, stages_of


def test_a_run_of_two_iterations_is_six_jobs_and_the_last_iteration_generates_nothing():
    world = World()
    run_to_the_end(world)
    assert stages_of(world) == [
        "prepare-a0", "i000-train-a0", "i000-evaluate-a0", "i000-generate-a0", "i001-train-a0", "i001-evaluate-a0",
    ]  # fmt: skip
    assert world.condition("Complete")["reason"] == "MaxIterationsReached"
    assert world.status["best"]["iteration"] == 1
    assert world.status["best"]["modelUri"] == "s3://b/adapter1"
    assert world.status["summary"]["mistakes"] == "10/40"


def test_a_finished_run_asks_for_nothing_more():
    world = World()
    run_to_the_end(world)
    world.settle()
    writes = world.writes
    for _ in range(3):
        decided = world.step()
        assert not decided.create
        assert not decided.delete
        assert not decided.events
    assert world.writes == writes


def test_at_most_two_status_writes_a_job_and_two_a_run():
    world = World()
    run_to_the_end(world)
    assert world.writes <= 2 * len(world.created) + 2


def test_a_restarted_operator_creates_the_job_that_its_status_speaks_of_under_the_same_name():
    world = World()
    world.settle()
    name = world.current
    world.vanish(name)  # the status was written, then the operator died before the create
    world.created.clear()
    world.step()
    assert [body["metadata"]["name"] for body in world.created] == [name]


def test_a_job_that_exists_already_is_adopted():
    world = World()
    decided = world.decide()
    assert decided.create
    name = decided.create["metadata"]["name"]
    world.jobs[name] = builders.job(name)  # created, then the operator died before the status
    world.step()
    assert world.created == []
    assert world.current == name


def test_a_job_of_that_name_with_another_uid_than_the_recorded_one_is_not_believed():
    world = World()
    world.settle()
    world.start()
    world.settle()
    world.jobs[world.current] = builders.job(world.current, uid="uid-of-another")
    world.succeed()
    world.settle()
    assert stages_of(world) == ["prepare-a0", "prepare-a1"]


def test_raising_retry_goes_on_at_the_failed_step_and_keeps_what_is_recorded():
    world = World()
    world.settle()
    world.succeed()
    world.settle()
    world.end(66, "the key was refused")
    world.settle()
    assert world.status["phase"] == "Failed"
    world.spec = {**world.spec, "retry": 1}
    world.settle()
    assert world.status["phase"] == "Running"
    assert world.condition("Failed")["status"] == "False"
    assert stages_of(world) == ["prepare-a0", "i000-train-a0", "i000-train-a1"]
    assert [step["stage"] for step in world.status["steps"]] == ["Prepare"]


def test_while_suspended_no_job_exists_and_the_step_goes_on_as_the_next_attempt():
    world = World()
    world.settle()
    world.succeed()
    world.settle()
    world.start()
    world.settle()
    world.spec = {**world.spec, "suspend": True}
    name = world.current
    decided = world.decide()
    assert [job.name for job in decided.delete] == [name]
    assert world.status["phase"] == "Running"
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert name not in world.jobs
    world.spec = {**world.spec, "suspend": False}
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a1"
    assert world.status["phase"] == "Running"


def test_a_result_that_arrives_while_suspending_is_recorded():
    world = World()
    world.settle()
    world.spec = {**world.spec, "suspend": True}
    world.succeed()
    world.settle()
    assert world.status["steps"][0]["outcome"] == "Succeeded"
    assert world.status["phase"] == "Suspended"
    assert len(world.created) == 1


def test_fault_42_the_images_are_pinned_when_the_run_is_accepted():
    world = World()
    world.settle()
    assert world.status["images"]["train"] == "image/train"
    world.status["images"]["train"] = "image/older"
    world.succeed()
    world.settle()
    assert world.created[-1]["spec"]["template"]["spec"]["containers"][0]["image"] == "image/older"


def test_lowering_max_iterations_ends_the_run_after_the_iteration_in_progress():
    world = World(spec=builders.spec(maxIterations=5))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    world.spec = {**world.spec, "maxIterations": 1}
    world.succeed()
    world.settle()
    assert world.condition("Complete")["reason"] == "MaxIterationsReached"


def test_fault_33_no_mistakes_left_completes_with_a_warning_when_the_evaluation_set_lags():
    world = World()
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    world.succeed(mistakes=0)
    world.settle()
    assert world.condition("Complete")["reason"] == "NoMistakes"
    assert "memorized" in world.condition("Complete")["message"]

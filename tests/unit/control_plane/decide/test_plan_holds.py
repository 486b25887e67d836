from __future__ import annotations

from tests.support import builders
from tests.support.world import World, stages_of


def test_an_empty_teacher_account_holds_the_run_and_retry_releases_it():
    world = World()
    for _ in range(3):
        world.settle()
        world.succeed()
    world.settle()
    world.end(67, "the teacher's account is out of credit")
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.condition("Suspended")["reason"] == "TeacherQuotaExhausted"
    assert "spec.retry" in world.status["message"]
    assert world.condition("Failed") == {}
    world.spec = {**world.spec, "retry": 1}
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a1"


def test_training_on_new_rows_waits_for_a_persons_release():
    world = World(spec=builders.spec(maxIterations=3, approval={"mode": "BeforeTraining"}))
    for _ in range(4):
        world.settle()
        world.succeed()
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.condition("Suspended")["reason"] == "AwaitingApproval"
    assert "approvedRounds to 1" in world.status["message"]
    world.spec = {**world.spec, "approval": {"mode": "BeforeTraining", "approvedRounds": 1}}
    world.settle()
    assert stages_of(world)[-1] == "i001-train-a0"
    assert world.status["phase"] == "Running"


def test_a_run_held_for_approval_writes_nothing_while_it_waits():
    world = World(spec=builders.spec(approval={"mode": "BeforeTraining", "approvedRounds": 0}))
    while world.status.get("phase") != "Suspended":
        world.settle()
        if world.status["phase"] != "Suspended":
            world.succeed()
    writes = world.writes
    for _ in range(3):
        world.seconds += 100
        assert not world.step().events
    assert world.writes == writes
    world.spec = {**world.spec, "approval": {"mode": "BeforeTraining", "approvedRounds": 1}}
    world.settle()
    assert stages_of(world)[-1] == "i001-train-a0"

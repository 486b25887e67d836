"""What a user gets wrong: a clear message on the run, nothing paid twice, and a way back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import job_names
from tests.support.install import OperatorProcess
from tests.support.platform import BUCKET, Platform
from tests.support.rights import OPERATOR_USER
from tests.support.teacher import Teacher


@pytest.fixture
def teacher(platform: Platform) -> Iterator[Teacher]:
    """The platform's teacher, with its key and manners restored afterwards."""
    yield platform.teacher
    platform.teacher.fault("none")
    platform.teacher.fault("set-key", key=platform.teacher.key)


def test_fault_33_broken_seed_rows_fail_in_prepare_with_file_and_line_numbers(
    platform: Platform, operator: OperatorProcess, team: str
):
    rows = [json.dumps({"prompt": f"w{n}", "completion": "label00"}) for n in range(30)]
    rows[2], rows[16] = '{"prompt": "no end', json.dumps({"prompt": "no completion"})
    platform.client().put_object(Bucket=BUCKET, Key=f"{team}/broken.jsonl", Body="\n".join(rows).encode())
    document = platform.manifest()
    document["spec"]["data"]["seed"]["uri"] = f"s3://{BUCKET}/{team}/broken.jsonl"
    platform.apply(team, document)
    status = platform.wait_for_end(team)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "InvalidData"
    for words in ("broken.jsonl", "3", "17", "spec.retry"):
        assert words in failed["message"]
    assert job_names(platform.writes(OPERATOR_USER, team)) == ["prepare-a0"]


def test_fault_52_dollar_signs_and_braces_reach_the_step_byte_for_byte(
    platform: Platform, operator: OperatorProcess, team: str
):
    odd = "$(HOME) $$(HOME) $$ {{ prompt }} {% raw %} 'quoted' \\"
    document = platform.manifest()
    document["spec"]["data"]["seed"]["fields"] = {"prompt": odd, "completion": "completion"}
    platform.apply(team, document)
    status = platform.wait_for_end(team)
    assert f"no field {odd!r}" in status["message"]


def test_fault_34_a_wrong_teacher_key_is_found_by_prepare_with_one_request(
    platform: Platform, operator: OperatorProcess, team: str, teacher: Teacher
):
    platform.secret(team, "teacher", {"api-key": "wrong"})
    before = teacher.stats()["requests"]
    platform.apply(team, platform.manifest())
    status = platform.wait_for_end(team)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "AuthenticationFailed"
    assert "teacher" in failed["message"]
    assert "api-key" in failed["message"]
    assert job_names(platform.writes(OPERATOR_USER, team)) == ["prepare-a0"]
    assert teacher.stats()["requests"] - before == 1


@pytest.mark.turns("e2e: runs that go on")
def test_fault_29_a_key_that_is_revoked_later_fails_at_generate_and_a_retry_goes_on_without_training_again(
    platform: Platform, operator: OperatorProcess, team: str, teacher: Teacher
):
    document = platform.manifest(maxIterations=2)
    platform.apply(team, document)
    platform.wait(team, "keyword", lambda s: s.get("currentStep", {}).get("stage") == "Train")
    teacher.fault("revoke-key")
    status = platform.wait_for_end(team)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert (failed["reason"], status["currentStep"]["stage"]) == ("AuthenticationFailed", "Generate")
    assert "api-key" in failed["message"]
    assert status["best"]["iteration"] == 0  # the trained adapter is kept

    teacher.fault("set-key", key="the-new-key")
    platform.secret(team, "teacher", {"api-key": "the-new-key"})
    document["spec"]["retry"] = 1
    platform.apply(team, document)
    status = platform.wait(team, "keyword", lambda s: s.get("phase") == "Succeeded")
    assert job_names(platform.writes(OPERATOR_USER, team)) == [
        "i000-evaluate-a0", "i000-generate-a0", "i000-generate-a1", "i000-train-a0", "i001-evaluate-a0",
        "i001-train-a0", "prepare-a0",
    ]  # fmt: skip


def test_fault_28_a_missing_secret_is_told_and_the_run_goes_on_once_it_exists(
    platform: Platform, operator: OperatorProcess, team: str
):
    platform.cluster.kubectl("-n", team, "delete", "secret", "s3")
    platform.apply(team, platform.manifest(maxIterations=1))

    def told(status: dict[str, object]) -> bool:
        return 'secret "s3" not found' in str(status.get("message"))

    status = platform.wait(team, "keyword", told, timeout=180)
    progress = next(c for c in status["conditions"] if c["type"] == "Progressing")
    assert (progress["status"], progress["reason"]) == ("False", "CreateContainerConfigError")
    keys = {"AWS_ACCESS_KEY_ID": platform.s3.access_key, "AWS_SECRET_ACCESS_KEY": platform.s3.secret_key}
    platform.secret(team, "s3", keys)
    status = platform.wait(team, "keyword", lambda s: bool(s.get("steps")), timeout=180)
    assert status["steps"][0]["outcome"] == "Succeeded"
    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword")


def test_fault_23_a_run_that_asks_for_more_gpus_than_there_are_says_so_in_the_schedulers_words(
    platform: Platform, operator: OperatorProcess, team: str
):
    document = platform.manifest(prepare={"resources": {"limits": {"nvidia.com/gpu": "9"}}})
    platform.apply(team, document)
    status = platform.wait(
        team, "keyword", lambda s: "Insufficient nvidia.com/gpu" in str(s.get("message")), timeout=180
    )
    progress = next(c for c in status["conditions"] if c["type"] == "Progressing")
    assert (progress["status"], progress["reason"]) == ("False", "Unschedulable")
    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword")

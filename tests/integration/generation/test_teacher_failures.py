"""What the user sees when the teacher fails, in every way that a real one does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.generation import rounds

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import AuthenticationError, LowAcceptance, StepError, TeacherQuotaExhausted, Transient
from llm2llm.records import Report, Usage, to_jsonl
from llm2llm.step import run_step
from llm2llm.storage import Store
from llm2llm.teacher import limits, pacing
from llm2llm.teacher import requests as paid
from llm2llm.teacher.probe import probe


@pytest.fixture
def teacher() -> Iterator[rounds.Teacher]:
    with rounds.Teacher() as server:
        yield server


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(pacing, "UNKNOWN_PAUSE", 0.02)
    monkeypatch.setattr(pacing, "LONGEST_LOOK", 0.1)


def generated(place: Path | Store, teacher: rounds.Teacher, **options: object) -> Report:
    environ = {"TEACHER_TIMEOUT_SECONDS": "0.5"}
    parameters = options.pop("parameters", None)
    spec = rounds.spec_for(teacher, parameters=parameters)  # type: ignore[arg-type]
    store, step = rounds.prepared(place, spec)
    return run_step(step, store, rounds.context_for("pod-a", Path("nothing is written here"), environ))


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        pytest.param(
            {"kind": "revoke-key"},
            AuthenticationError,
            "check Secret teacher, key api-key (spec.generate.teacher.apiKeySecretRef)",
            id="a refused key is named with its Secret",
        ),
        pytest.param(
            {"kind": "403", "count": -1}, AuthenticationError, "refused the key (403)", id="a forbidden model"
        ),
        pytest.param(
            {"kind": "quota", "count": -1}, TeacherQuotaExhausted, "out of credit", id="an account without credit"
        ),
    ],
)
def test_fault_34_what_no_retry_can_mend_costs_one_request(
    bucket: Store, teacher: rounds.Teacher, fault: dict[str, Any], error: type[StepError], told: str
):
    teacher.fault(**fault)
    with pytest.raises(error) as caught:
        generated(bucket, teacher)
    assert caught.value.exit_code == (67 if error is TeacherQuotaExhausted else 66)
    assert told in caught.value.message
    assert teacher.stats()["requests"] == 1
    assert rounds.KEY not in caught.value.message


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a round in a folder, with a teacher that never fails."""
    with rounds.Teacher() as server:
        return generated(tmp_path_factory.mktemp("calm"), server)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "429", "retryAfter": 0.1, "count": 30}, id="a storm of 429"),
        pytest.param({"kind": "500", "count": 4}, id="some 5xx"),
        pytest.param({"kind": "cut", "count": 4}, id="cut connections"),
        pytest.param({"kind": "hang", "count": 3}, id="requests that hang"),
    ],
)
def test_fault_35_passing_trouble_changes_nothing_in_the_result(
    calm: Report, bucket: Store, teacher: rounds.Teacher, fault: dict[str, Any]
):
    teacher.fault(**fault)
    rough = generated(bucket, teacher)
    assert (rough.kept, rough.generated, rough.digest) == (calm.kept, calm.generated, calm.digest)


def test_a_storm_of_429_is_paced_and_not_hammered(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="429", retryAfter=0.3, count=5)
    generated(tmp_path, teacher)
    assert teacher.stats()["statuses"]["429"] == 5  # the canary's, one by one


@pytest.mark.parametrize("fault", ["429", "500", "cut"])
def test_fault_35_a_teacher_that_breaks_down_is_given_up_with_75_and_nothing_is_paid_twice(
    bucket: Store, teacher: rounds.Teacher, fault: str
):
    store, step = rounds.prepared(bucket, rounds.spec_for(teacher))
    context = rounds.context_for("pod-a", Path())

    def break_down(event: Mapping[str, object]) -> None:
        if "step" in event:
            teacher.fault(kind=fault, retryAfter=7200, count=-1)

    context.progress = break_down
    with pytest.raises(Transient, match=teacher.base_url) as caught:
        run_step(step, store, context)
    assert caught.value.exit_code == 75
    assert 0 < teacher.stats()["answered"] < 60
    teacher.fault(kind="none")
    report = run_step(step, store, rounds.context_for("pod-b", Path()))
    stats = teacher.stats()
    assert (report.kept, stats["answered"], stats["repeated"]) == (60, 60, 0)


def test_a_pause_of_hours_ends_the_attempt_instead_of_holding_its_pod(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="429", retryAfter=7200, count=-1)
    with pytest.raises(Transient, match="it asked to retry after 7200 s"):
        generated(tmp_path, teacher)
    assert teacher.stats()["requests"] == 1


def test_a_pause_is_told_as_progress_for_the_watchdog(
    tmp_path: Path, teacher: rounds.Teacher, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(paid, "WAIT_TOLD_SECONDS", 0.05)
    teacher.fault(kind="429", retryAfter=1, count=1)
    store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher), 2)
    context = rounds.context_for("pod-a", tmp_path)
    told: list[str] = []
    context.progress = lambda event: told.append(str(event.get("message", "")))
    run_step(step, store, context)
    assert f"waiting up to 1 s because of the rate limits of the teacher {teacher.base_url}" in told


@pytest.mark.parametrize("fault", ["hang", "504"])
def test_a_request_without_an_answer_in_time_is_charged_by_estimate(
    tmp_path: Path, teacher: rounds.Teacher, fault: str
):
    teacher.fault(kind=fault, count=1)
    report = generated(tmp_path, teacher)
    assert report.usage.teacher_requests == 61
    assert report.usage.teacher_input_tokens > teacher.stats()["inputTokens"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("bad-json", "schema"),
        ("empty", "schema"),
        ("off-schema", "schema"),
        ("wrong-label", "label"),
        ("duplicates", "copy"),
        ("leak", "contaminated"),
        ("content-filter", "contentFilter"),
    ],
)
def test_fault_36_garbage_is_refused_row_by_row_and_asked_for_again(
    bucket: Store, teacher: rounds.Teacher, fault: str, reason: str
):
    teacher.fault(kind=fault, count=12)
    report = generated(bucket, teacher)
    assert report.kept == 60
    refused = Counter(row["reason"] for row in rounds.rows(bucket, "rejected.jsonl"))
    assert set(refused) == {reason}
    assert report.generated == 60 + refused[reason]
    held_out = {row.fields["prompt"] for row in rounds.evaluation_rows()}
    assert not held_out & {row["fields"]["prompt"] for row in rounds.rows(bucket, "synthetic.jsonl")}


def test_a_row_of_the_test_set_is_refused_like_one_of_the_evaluation_set(tmp_path: Path, teacher: rounds.Teacher):
    first, *others = rounds.evaluation_rows()
    frozen = {"evaluation.jsonl": to_jsonl([first]), "test.jsonl": to_jsonl(others)}
    store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher), frozen=frozen)
    teacher.fault(kind="leak", count=12)
    report = run_step(step, store, rounds.context_for("pod-a", tmp_path))
    assert (report.kept, report.generated) == (60, 72)
    assert {row["reason"] for row in rounds.rows(store, "rejected.jsonl")} == {"contaminated"}
    leaked = {row.fields["prompt"] for row in others}
    assert not leaked & {row["fields"]["prompt"] for row in rounds.rows(store, "synthetic.jsonl")}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("parts", id="a content in parts is read"),
        pytest.param("odd-usage", id="half a token is no count"),
    ],
)
def test_an_answer_in_a_form_of_its_own_is_on_record_and_not_paid_again(
    tmp_path: Path, teacher: rounds.Teacher, fault: str
):
    teacher.fault(kind=fault, count=12)
    report = generated(tmp_path, teacher)
    stats = teacher.stats()
    assert (report.kept, report.generated) == (60, 60)
    assert report.usage.teacher_requests == stats["answered"] == 60
    assert stats["repeated"] == 0
    # what tells no tokens that can be counted is charged by estimate
    assert (report.usage.teacher_input_tokens > stats["inputTokens"]) == (fault != "parts")


def test_a_body_that_breaks_off_is_charged_and_asked_for_again(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="half-body", count=4)
    report = generated(tmp_path, teacher)
    stats = teacher.stats()
    assert (report.kept, report.generated) == (60, 60)
    assert report.usage.teacher_requests == stats["answered"] == 64
    assert report.usage.teacher_input_tokens > stats["inputTokens"]


def test_a_page_at_a_wrong_address_ends_the_attempt_and_the_right_address_is_asked_for_all(
    tmp_path: Path, teacher: rounds.Teacher
):
    store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher))
    teacher.fault(kind="page", count=-1)
    with pytest.raises(Transient, match=r"Please log in.*check spec.generate.teacher.baseUrl") as caught:
        run_step(step, store, rounds.context_for("pod-a", tmp_path))
    assert caught.value.exit_code == 75
    pages = teacher.stats()["requests"]
    assert pages <= paid.ATTEMPTS * 8  # of each place in flight
    teacher.fault(kind="none")
    report = run_step(step, store, rounds.context_for("pod-b", tmp_path))
    assert (report.kept, report.generated) == (60, 60)
    assert report.usage.teacher_requests == 60 + pages  # each of them may have been paid


def test_fault_36_a_teacher_that_writes_only_garbage_fails_the_step_with_samples(
    bucket: Store, teacher: rounds.Teacher
):
    teacher.fault(kind="bad-json", count=-1)
    told = r"kept none of the first 20 rows \(schema 20\), so the other 40 of this round were not.*no JSON object"
    with pytest.raises(LowAcceptance, match=told):
        generated(bucket, teacher)
    assert teacher.stats()["answered"] == 20
    assert all("/ledger/" in key for key in bucket.list("iterations/000/generate/"))  # nothing to train on


def test_fault_36_a_small_round_that_could_not_be_read_at_all_fails_once_it_is_over(
    tmp_path: Path, teacher: rounds.Teacher
):
    """A share of so few answers says nothing, but all of them garbage in each wave does."""
    teacher.fault(kind="bad-json", count=-1)
    store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher, samples=1), 3)
    with pytest.raises(LowAcceptance, match=r"kept 0 of 9 rows"):
        run_step(step, store, rounds.context_for("pod-a", tmp_path))
    assert teacher.stats()["answered"] == 9


def test_answers_that_are_cut_say_what_to_raise(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="cut-short", count=-1)
    with pytest.raises(
        LowAcceptance, match=r"no JSON object in it; cut at its limit of tokens: raise max_tokens in spec"
    ):
        generated(tmp_path, teacher)


def test_prose_around_the_object_is_read(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="prose", count=-1)
    assert generated(tmp_path, teacher).kept == 60


def test_what_the_endpoint_does_not_know_is_left_out_after_one_refusal(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="unsupported-parameter", parameter="temperature", count=-1)
    assert generated(tmp_path, teacher, parameters={"temperature": "0.8"}).kept == 60
    assert teacher.stats()["statuses"]["400"] == 1


def test_every_row_tells_where_it_comes_from(tmp_path: Path, teacher: rounds.Teacher):
    generated(tmp_path, teacher)
    store = rounds.LocalStore(tmp_path)
    row = rounds.rows(store, "synthetic.jsonl")[0]
    assert row["id"] == "s0-seed-0000-1"
    assert row["completion"] == "label00"
    assert row["lineage"]["seed"] == "seed-0000"
    assert (row["lineage"]["iteration"], row["lineage"]["wave"]) == (0, 0)
    assert row["lineage"]["teacher"] == "keyword-teacher"
    assert set(row["lineage"]["scores"]) == {"rougeLToSeed", "withinOneWordOfSeed"}
    digests = {entry["key"]: entry["promptDigest"] for entry in rounds.rows(store, "ledger.jsonl")}
    assert digests[row["lineage"]["requestKey"]] == row["lineage"]["promptDigest"]
    assert rounds.KEY not in json.dumps(rounds.rows(store, "ledger.jsonl"))


def test_the_probe_of_prepare_tells_what_it_cost_or_what_is_wrong(teacher: rounds.Teacher):
    generate_spec = AugmentationRunSpec.model_validate(rounds.spec_for(teacher)).generate
    costs: list[Usage] = []
    probe(generate_spec, {"LLM2LLM_TEACHER_API_KEY": rounds.KEY}, record=costs.append)
    assert [(cost.teacher_requests, cost.teacher_input_tokens) for cost in costs] == [
        (1, teacher.stats()["inputTokens"])
    ]
    with pytest.raises(AuthenticationError, match="Secret teacher, key api-key"):
        probe(generate_spec, {})

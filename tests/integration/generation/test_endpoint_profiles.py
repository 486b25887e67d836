"""Endpoints that differ in what they understand: each gets a round of the same rows, over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.generation import rounds

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import (
    AuthenticationError,
    ConfigurationError,
    LowAcceptance,
    StepError,
    TeacherQuotaExhausted,
    Transient,
)
from llm2llm.records import Report, Usage
from llm2llm.step import run_step
from llm2llm.teacher.probe import probe

MISTAKES = 8
ROWS = 3 * MISTAKES
PARAMETERS = {"temperature": "0.8", "max_tokens": "200", "top_k": "40"}


@pytest.fixture
def teacher() -> Iterator[rounds.Teacher]:
    with rounds.Teacher() as server:
        yield server


def generated(folder: Path, teacher: rounds.Teacher, told: list[str] | None = None, **spec_options: Any) -> Report:
    store, step = rounds.prepared(folder, rounds.spec_for(teacher, **spec_options), MISTAKES)
    context = rounds.context_for("pod-a", folder)
    if told is not None:
        context.progress = lambda event: told.append(str(event.get("message", "")))
    return run_step(step, store, context)


@pytest.mark.parametrize(
    ("profile", "refusals", "words"),
    [
        pytest.param("strict", 1, ["top_k is no longer sent"], id="strict about unknown parameters"),
        pytest.param(
            "reasoning",
            2,
            ["max_tokens is now sent as max_completion_tokens", "temperature is no longer sent"],
            id="another name for max_tokens, and no temperature",
        ),
        pytest.param("json-object", 1, ["requesting json_object instead"], id="JSON mode without a schema"),
        pytest.param(
            "plain", 2, ["requesting json_object instead", "parsing text instead"], id="no response_format at all"
        ),
        pytest.param(
            "no-system", 1, ["it does not accept the role system"], id="a chat template without the role system"
        ),
        pytest.param("vllm", 1, ["top_k is no longer sent"], id="vLLM's form, with a number as the code"),
        pytest.param(
            "fastapi",
            1,
            ["temperature is no longer sent, top_k is no longer sent"],
            id="422 with all that it does not know",
        ),
    ],
)
def test_what_an_endpoint_refuses_is_adapted_to_once_and_told(
    tmp_path: Path, teacher: rounds.Teacher, profile: str, refusals: int, words: list[str]
):
    teacher.fault(kind="profile", profile=profile)
    told: list[str] = []
    assert generated(tmp_path, teacher, told, parameters=PARAMETERS).kept == ROWS
    statuses = teacher.stats()["statuses"]
    assert statuses.get("400", 0) + statuses.get("422", 0) == refusals
    assert all(any(word in line for line in told) for word in words)
    assert len([line for line in told if line]) == refusals


def test_prepare_finds_out_and_tells_the_same(teacher: rounds.Teacher):
    teacher.fault(kind="profile", profile="reasoning")
    spec = AugmentationRunSpec.model_validate(rounds.spec_for(teacher, parameters=PARAMETERS)).generate
    told: list[str] = []
    probe(spec, {"LLM2LLM_TEACHER_API_KEY": rounds.KEY}, told.append)
    assert "max_tokens is now sent as max_completion_tokens" in told[0]
    assert "temperature is no longer sent" in told[1]
    assert teacher.base_url in told[0]


def test_prepare_asks_with_the_roles_of_generation(teacher: rounds.Teacher):
    teacher.fault(kind="profile", profile="no-system")
    told: list[str] = []
    spec = AugmentationRunSpec.model_validate(rounds.spec_for(teacher)).generate
    costs: list[Usage] = []
    probe(spec, {"LLM2LLM_TEACHER_API_KEY": rounds.KEY}, told.append, record=costs.append)
    assert len(costs) == 1
    assert "text now starts the user message" in told[0]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        pytest.param({"kind": "page"}, Transient, "check spec.generate.teacher.baseUrl", id="a page"),
        pytest.param({"kind": "half-body"}, Transient, "not a chat completion", id="half of a completion"),
    ],
)
def test_prepare_demands_a_completion(
    teacher: rounds.Teacher, fault: dict[str, str], error: type[StepError], words: str
):
    teacher.fault(**fault)
    spec = AugmentationRunSpec.model_validate(rounds.spec_for(teacher)).generate
    with pytest.raises(error, match=words):
        probe(spec, {"LLM2LLM_TEACHER_API_KEY": rounds.KEY})


@pytest.mark.parametrize(
    ("profile", "error", "words"),
    [
        ("azure-key", AuthenticationError, "refused the key (401): check Secret teacher, key api-key"),
        (
            "no-credit",
            TeacherQuotaExhausted,
            "the account is out of credit, or its key has expired (402 Insufficient Balance)",
        ),
    ],
)
def test_another_format_of_errors_means_the_same(
    tmp_path: Path, teacher: rounds.Teacher, profile: str, error: type[StepError], words: str
):
    teacher.fault(kind="profile", profile=profile)
    with pytest.raises(error) as caught:
        generated(tmp_path, teacher)
    assert words in caught.value.message
    assert teacher.stats()["requests"] == 1


def test_a_refusal_that_names_nothing_ends_the_step_with_the_endpoints_words(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="profile", profile="no-template")
    with pytest.raises(ConfigurationError, match="you must provide a chat template"):
        generated(tmp_path, teacher)
    assert teacher.stats()["requests"] == 1


def test_azures_filter_refuses_rows_and_not_the_step(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="profile", profile="azure-filter")
    with pytest.raises(LowAcceptance, match=r"kept 0 of 24 rows \(contentFilter 24"):
        generated(tmp_path, teacher)


def test_azures_call_rate_is_waited_for(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="429", count=2, retryAfter=0.1, code="429")
    assert generated(tmp_path, teacher).kept == ROWS
    assert teacher.stats()["statuses"]["429"] == 2


def test_a_request_longer_than_the_context_costs_its_row_only(tmp_path: Path, teacher: rounds.Teacher):
    teacher.fault(kind="profile", profile="short-context")
    teacher.fault(kind="bad-json", count=6)  # the next wave shows what was refused, and is longer by it
    report = generated(tmp_path, teacher)
    store = rounds.LocalStore(tmp_path)
    refused = Counter(row["reason"] for row in rounds.rows(store, "rejected.jsonl"))
    assert refused == {"schema": 6, "contextLength": 12}
    assert report.kept == ROWS - 6
    row = next(row for row in rounds.rows(store, "rejected.jsonl") if row["reason"] == "contextLength")
    assert "maximum context length is" in row["detail"]
    assert report.usage.teacher_input_tokens == teacher.stats()["inputTokens"]  # nothing is charged for it


def test_moderation_of_some_prompts_costs_their_rows_and_is_not_asked_for_again(
    tmp_path: Path, teacher: rounds.Teacher
):
    teacher.fault(kind="profile", profile="moderated")
    report = generated(tmp_path, teacher)
    store = rounds.LocalStore(tmp_path)
    assert report.kept == ROWS - MISTAKES
    assert {row["reason"] for row in rounds.rows(store, "rejected.jsonl")} == {"contentFilter"}
    assert "flagged for violence" in rounds.rows(store, "rejected.jsonl")[0]["detail"]
    requests = teacher.stats()["requests"]
    assert report.usage.teacher_requests == requests

    store.delete("iterations/000/generate/manifest.json")
    assert generated(tmp_path, teacher).kept == ROWS - MISTAKES
    assert teacher.stats()["requests"] == requests


def test_a_keyless_endpoint_needs_no_secret(tmp_path: Path):
    with rounds.Teacher(key="") as teacher:
        spec = rounds.spec_for(teacher)
        del spec["generate"]["teacher"]["apiKeySecretRef"]
        store, step = rounds.prepared(tmp_path, spec, MISTAKES)
        context = rounds.context_for("pod-a", tmp_path, {"LLM2LLM_TEACHER_API_KEY": ""})
        assert run_step(step, store, context).kept == ROWS

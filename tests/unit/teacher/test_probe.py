"""Prepare's small question, and the judgement of its answer: as generation would judge it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.support.mockteacher import COUNTED, body, mocked, refusal

from llm2llm.api.generate import Generate
from llm2llm.augment.parse import parse
from llm2llm.errors import ConfigurationError, ExitCode, StepError, Transient
from llm2llm.records import Usage
from llm2llm.teacher import connection
from llm2llm.teacher.probe import ATTEMPTS, CONNECTION, Question, probe

COST = Usage(teacher_requests=1, teacher_input_tokens=3, teacher_output_tokens=2)
"""Of each answer."""
READY = '{"ready": "yes"}'
GENERATE = Generate.model_validate({"teacher": {"model": "m", "baseUrl": "http://teacher/v1"}})


def has_object(text: str, _: str) -> str:
    """Judges an answer as generation does that asks for no field."""
    parse(text, (), choice=True)
    return ""


QUESTION = replace(CONNECTION, judge=has_object)


def message(**fields: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **fields}}
    return json.dumps({"choices": [choice], "usage": COUNTED}).encode()


def ask(
    monkeypatch: pytest.MonkeyPatch,
    *answers: bytes | httpx.Response,
    record: Callable[[Usage], None] = lambda _: None,
    questions: Sequence[Question] = (QUESTION,),
) -> tuple[int, str]:
    """The number of requests where the endpoint gives these answers, and then the last one for ever, and the warning."""
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        given = answers[min(asked, len(answers)) - 1]
        return given if isinstance(given, httpx.Response) else httpx.Response(200, content=given)

    monkeypatch.setattr(connection, "_http_client", lambda *_: mocked(answer))

    warning = probe(GENERATE, {}, record=record, questions=questions)
    return asked, warning


@pytest.mark.parametrize(
    "content",
    [READY, f"Sure!\n```json\n{READY}\n```", f"<think>{{}}</think>{READY}", f"[{READY}]", '{"ready": "yes",}'],
)
def test_an_answer_that_generation_could_use_is_enough(monkeypatch: pytest.MonkeyPatch, content: str):
    costs: list[Usage] = []
    assert ask(monkeypatch, body(content), record=costs.append) == (1, "")
    assert ask(monkeypatch, message(content=content, reasoning_content="they want JSON"), record=costs.append) == (
        1,
        "",
    )
    assert costs == [COST, COST]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(message(reasoning_content=READY), "in reasoning_content alone.*turn off", id="thoughts alone"),
        pytest.param(message(reasoning=READY, content=""), "in reasoning_content alone", id="thoughts by another name"),
        pytest.param(message(refusal="I cannot help"), "the model refused: I cannot help", id="a refusal"),
        pytest.param(body(READY[:5], finish="length"), "cut at its limit.*raise max_tokens", id="cut"),
        pytest.param(body("", finish="length"), "cut at its limit", id="cut within its thoughts"),
        pytest.param(body(READY, finish="content_filter"), "content filter blocked it", id="filtered"),
        pytest.param(body("Yes, I am ready."), "no JSON object in it: it wrote 'Yes, I am ready.'", id="prose"),
        pytest.param(body(""), "the answer is empty", id="nothing"),
        pytest.param(body(f"<think>{READY}"), "", id="thoughts without an end"),
    ],
)
def test_fault_58_an_answer_that_generation_could_not_use_is_refused_before_the_run_begins(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str
):
    with pytest.raises(ConfigurationError, match=f"gave {ATTEMPTS} answers that generation could not use.*{words}"):
        ask(monkeypatch, answer)


def test_a_model_may_slip_once_and_every_request_is_counted(monkeypatch: pytest.MonkeyPatch):
    costs: list[Usage] = []
    assert ask(monkeypatch, body("well..."), body(READY), record=costs.append) == (2, "")
    assert costs == [COST, COST]


def test_a_completion_without_a_message_may_pass_by_itself(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Transient, match="without a message"):
        ask(monkeypatch, json.dumps({"choices": [{"finish_reason": "stop"}]}).encode())


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(refusal(400, f"is no {READY}", "json_validate_failed"), id="what the model wrote"),
        pytest.param(refusal(400, f"expected {READY}"), id="for no reason, after an answer"),
    ],
)
def test_fault_58_the_words_of_a_refusal_are_no_answer_whatever_is_in_them(
    monkeypatch: pytest.MonkeyPatch, refused: httpx.Response
):
    words = rf"the endpoint refused it: .*{re.escape(READY)}"
    with pytest.raises(ConfigurationError, match=words):
        ask(monkeypatch, body("well..."), refused)


@pytest.mark.parametrize(
    ("answers", "recorded"),
    [
        pytest.param([body("well...")], [COST] * ATTEMPTS, id="answers that cannot be used"),
        pytest.param([body("well..."), httpx.Response(401)], [COST], id="a key that is revoked in between"),
        pytest.param(
            [body("well..."), b'{"choices": [{}], "usage": null}'],
            [COST, Usage(teacher_requests=1)],
            id="a completion without a message",
        ),
        pytest.param([httpx.Response(504)], [Usage(teacher_requests=1)], id="a request that a gateway gave up"),
        pytest.param([httpx.Response(503)], [], id="a server that takes nothing"),
    ],
)
def test_what_was_paid_for_is_recorded_also_where_the_run_cannot_begin(
    monkeypatch: pytest.MonkeyPatch, answers: list[bytes | httpx.Response], recorded: list[Usage]
):
    costs: list[Usage] = []
    with pytest.raises(StepError):
        ask(monkeypatch, *answers, record=costs.append)
    assert costs == recorded


def verdicts(*given: str) -> list[Question]:
    """Questions for rows whose answers the filters judge so, in turn; '' keeps the row."""
    return [replace(CONNECTION, judge=lambda *_, verdict=verdict: verdict, of_row=True) for verdict in given]


@pytest.mark.parametrize(
    ("questions", "requests"),
    [
        pytest.param(verdicts("", "copy: of a row"), 1, id="kept"),
        pytest.param(verdicts("copy: of a row", ""), 2, id="the second is kept"),
    ],
)
def test_a_row_that_the_filters_keep_ends_the_trial_without_a_word(
    monkeypatch: pytest.MonkeyPatch, questions: list[Question], requests: int
):
    assert ask(monkeypatch, body(READY), questions=questions) == (requests, "")


def test_rows_that_the_filters_reject_are_a_warning_with_each_reason_once(monkeypatch: pytest.MonkeyPatch):
    questions = verdicts("label: wrong", "label: wrong", "copy: equals seed-1")
    assert ask(monkeypatch, body(READY), questions=questions)[1] == (
        "warning: the filters reject all 3 rows that the teacher http://teacher/v1 wrote as a trial "
        "(label: wrong; copy: equals seed-1)"
    )


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param(refusal(429, "one request in 20 s"), id="a pause is asked for"),
        pytest.param(httpx.Response(503), id="the server takes nothing"),
        pytest.param(httpx.Response(504), id="a gateway gave up"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(b'{"choices": [{}]}', id="a completion without a message"),
    ],
)
def test_an_endpoint_that_is_busy_after_a_rejected_row_leaves_the_warning(
    monkeypatch: pytest.MonkeyPatch, busy: bytes | httpx.Response
):
    asked, warning = ask(monkeypatch, body(READY), busy, questions=verdicts("label: wrong"))
    assert (asked, warning.partition(" that the teacher")[0]) == (2, "warning: the filters reject the one row")
    with pytest.raises(Transient):
        ask(monkeypatch, busy, questions=verdicts("label: wrong"))


OF_ROWS = [
    pytest.param(refusal(400, "maximum context length is 4096", "context_length_exceeded"), id="too long"),
    pytest.param(refusal(400, "Prompt blocked by our policy"), id="for a reason of its own"),
    pytest.param(refusal(413, "the request is large"), id="413"),
    pytest.param(refusal(422, "not this one"), id="422"),
    pytest.param(refusal(400, "filtered", "content_filter"), id="filtered before"),
    pytest.param(refusal(403, "flagged by moderation"), id="by a moderator"),
    pytest.param(body("", finish="content_filter"), id="filtered afterwards"),
]


@pytest.mark.parametrize("refused", OF_ROWS)
@pytest.mark.parametrize(
    ("before", "answer", "verdict", "requests", "expected"),
    [
        pytest.param(1, body(READY), "", 2, "", id="the second row is kept"),
        pytest.param(2, body(READY), "", 3, "", id="the third row is kept"),
        pytest.param(2, body(READY), "copy: of a row", 3, "warning: the filters reject all 3 rows", id="rejected"),
        pytest.param(
            3, body("ready"), "", 4, "warning: the teacher http://teacher/v1 answers, but it refused", id="all"
        ),
    ],
)
def test_fault_58_a_row_that_the_endpoint_refuses_is_not_the_endpoints_failure(
    monkeypatch: pytest.MonkeyPatch,
    refused: Any,
    before: int,
    answer: bytes,
    verdict: str,
    requests: int,
    expected: str,
):
    asked, warning = ask(monkeypatch, *[refused] * before, answer, questions=verdicts(verdict))
    assert asked == requests
    assert warning.startswith(expected)
    assert bool(warning) == bool(expected)


@pytest.mark.parametrize("refused", OF_ROWS)
def test_fault_58_an_endpoint_that_refuses_everything_is_at_fault(monkeypatch: pytest.MonkeyPatch, refused: Any):
    with pytest.raises(StepError) as caught:
        ask(monkeypatch, refused, questions=verdicts(""))
    assert caught.value.exit_code in (ExitCode.BAD_CONFIGURATION, ExitCode.AUTHENTICATION)


@pytest.mark.parametrize(
    "of_all",
    [
        pytest.param(refusal(401, "wrong"), id="the key"),
        pytest.param(refusal(400, "invalid api key"), id="the key, by a 400"),
        pytest.param(refusal(404, "no such model"), id="the model"),
        pytest.param(refusal(402, "pay"), id="the account"),
    ],
)
def test_what_concerns_every_row_ends_the_trial_at_once(monkeypatch: pytest.MonkeyPatch, of_all: httpx.Response):
    costs: list[Usage] = []
    with pytest.raises(StepError) as caught:
        ask(monkeypatch, of_all, body(READY), record=costs.append, questions=verdicts(""))
    assert (costs, caught.value.exit_code == ExitCode.TRANSIENT) == ([], False)

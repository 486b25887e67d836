"""Prepare's small question, and the judgement of its answer: as generation would judge it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.support.mockteacher import COUNTED, body, mocked, refusal

from llm2llm.api.generate import Generate
from llm2llm.augment.parse import parse
from llm2llm.errors import ConfigurationError, StepError, Transient
from llm2llm.records import Usage
from llm2llm.teacher import connection
from llm2llm.teacher.probe import ATTEMPTS, probe

COST = Usage(teacher_requests=1, teacher_input_tokens=3, teacher_output_tokens=2)
"""Of each answer."""
READY = '{"ready": "yes"}'
GENERATE = Generate.model_validate({"teacher": {"model": "m", "baseUrl": "http://teacher/v1"}})


def message(**fields: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **fields}}
    return json.dumps({"choices": [choice], "usage": COUNTED}).encode()


def ask(
    monkeypatch: pytest.MonkeyPatch, *answers: bytes | httpx.Response, record: Callable[[Usage], None] = lambda _: None
) -> int:
    """The number of requests where the endpoint gives these answers, and then the last one for ever."""
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        given = answers[min(asked, len(answers)) - 1]
        return given if isinstance(given, httpx.Response) else httpx.Response(200, content=given)

    monkeypatch.setattr(connection, "_http_client", lambda *_: mocked(answer))

    probe(GENERATE, {}, judge=lambda text: parse(text, (), choice=True), record=record)
    return asked


@pytest.mark.parametrize(
    "content",
    [READY, f"Sure!\n```json\n{READY}\n```", f"<think>{{}}</think>{READY}", f"[{READY}]", '{"ready": "yes",}'],
)
def test_an_answer_that_generation_could_use_is_enough(monkeypatch: pytest.MonkeyPatch, content: str):
    costs: list[Usage] = []
    assert ask(monkeypatch, body(content), record=costs.append) == 1
    assert ask(monkeypatch, message(content=content, reasoning_content="they want JSON"), record=costs.append) == 1
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
    with pytest.raises(ConfigurationError, match=f"gave {ATTEMPTS} answers to a small request.*{words}"):
        ask(monkeypatch, answer)


def test_a_model_may_slip_once_and_every_request_is_counted(monkeypatch: pytest.MonkeyPatch):
    costs: list[Usage] = []
    assert ask(monkeypatch, body("well..."), body(READY), record=costs.append) == 2
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

"""What the client makes of an endpoint's answers, whatever they are."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from llm2llm.api.generate import Generate, Teacher
from llm2llm.errors import AuthenticationError, ConfigurationError, StepError, Transient
from llm2llm.records import Usage
from llm2llm.teacher.client import RateLimited, TeacherClient, TeacherUnavailable, probe
from llm2llm.teacher.reply import Reply

COUNTED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
USAGE = Usage(teacher_requests=1, teacher_input_tokens=3, teacher_output_tokens=2)


def mocked(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    """A transport without a network; the client's own types name a fork of httpx."""
    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def complete(
    *responses: httpx.Response,
    parameters: dict[str, str] | None = None,
    times: int = 1,
    messages: list[dict[str, str]] | None = None,
) -> tuple[Reply, list[Any]]:
    """The last of so many replies where the endpoint answers with these, in turn; and the bodies that it was sent."""
    bodies: list[Any] = []
    left = iter(responses)

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return next(left)

    async def ask() -> Reply:
        connection = openai.AsyncOpenAI(
            api_key="none",
            base_url="http://teacher/v1",
            max_retries=0,
            http_client=mocked(answer),
        )
        teacher = Teacher.model_validate({"model": "m", "baseUrl": "http://teacher/v1", "parameters": parameters or {}})
        async with TeacherClient(teacher, connection) as client:
            for _ in range(times):
                reply = await client.complete(messages or [{"role": "user", "content": "x"}], {"type": "object"})
        return reply

    return asyncio.run(ask()), bodies


def body(content: Any = "hi", usage: Any = COUNTED, finish: Any = "stop") -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


EMPTY = Reply("", "empty", None)


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        pytest.param(body(), Reply("hi", "stop", USAGE), id="an answer"),
        pytest.param(b'{"choices": ["hi"]}', EMPTY, id="a choice that is a text"),
        pytest.param(b'{"choices": []}', EMPTY, id="an empty list of choices"),
        pytest.param(b'{"choices": [{"message": null}], "error": null}', EMPTY, id="no message"),
        pytest.param(
            body([{"type": "text", "text": '{"a":'}, {"type": "image"}, "x", {"type": "text", "text": "1}"}]),
            Reply('{"a":1}', "stop", USAGE),
            id="of a list of parts the texts are joined",
        ),
        pytest.param(body([{"type": "text", "text": [1]}]), Reply("", "stop", USAGE), id="a part without a text"),
        pytest.param(body(None), Reply("", "stop", USAGE), id="content null"),
        pytest.param(body(7), Reply("", "stop", USAGE), id="a number as the content"),
        pytest.param(body("\ud800"), Reply("?", "stop", USAGE), id="half of a UTF-16 pair"),
        pytest.param(body(finish=3), Reply("hi", "stop", USAGE), id="an end that is a number"),
        pytest.param(body(finish=None), Reply("hi", "stop", USAGE), id="an end that is not told"),
        pytest.param(body(finish="length"), Reply("hi", "length", USAGE), id="an end at the limit"),
        pytest.param(body(usage=None), Reply("hi", "stop", None), id="no usage"),
        pytest.param(body(usage=[3, 2]), Reply("hi", "stop", None), id="usage as a list"),
        pytest.param(body(usage={"total_tokens": 5}), Reply("hi", "stop", None), id="only a total"),
        pytest.param(body(usage=COUNTED | {"prompt_tokens": 3.5}), Reply("hi", "stop", None), id="half a token"),
        pytest.param(body(usage=COUNTED | {"prompt_tokens": 3.0}), Reply("hi", "stop", USAGE), id="a whole number"),
        pytest.param(body(usage=COUNTED | {"prompt_tokens": -3}), Reply("hi", "stop", None), id="less than none"),
        pytest.param(body(usage=COUNTED | {"prompt_tokens": "x"}), Reply("hi", "stop", None), id="words for a count"),
        pytest.param(
            body(usage=COUNTED | {"prompt_tokens": 10**30}), Reply("hi", "stop", None), id="beyond all bounds"
        ),
        pytest.param(
            body(usage=COUNTED | {"prompt_tokens": float("nan")}), Reply("hi", "stop", None), id="not a number"
        ),
    ],
)
def test_a_completion_that_came_is_a_reply_whatever_it_holds(content: bytes, reply: Reply):
    got, _ = complete(httpx.Response(200, content=content, headers={"content-type": "application/json"}))
    assert got == reply


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(
            body()[:40], "not a chat completion: check spec.generate.teacher.baseUrl", id="one that breaks off"
        ),
        pytest.param(b"<html>Please log in", "200 '<html>Please log in', which is not a chat completion", id="a page"),
        pytest.param(b"\xff\xfe\x00", "not a chat completion", id="bytes that are no text"),
        pytest.param(b"[" * 200_000, "not a chat completion", id="a nesting without end"),
        pytest.param(b"", "200 '', which is not", id="nothing"),
        pytest.param(b"null", "not a chat completion", id="null"),
        pytest.param(b"[1]", "not a chat completion", id="a list"),
        pytest.param(b'{"choices": null}', "not a chat completion", id="no choices"),
        pytest.param(b'{"choices": {"0": {}}}', "not a chat completion", id="choices that are no list"),
        pytest.param(b'{"error": {"message": "overloaded", "code": 502}}', "200 overloaded$", id="an error"),
        pytest.param(b'{"choices": [], "error": "overloaded"}', "200 overloaded", id="an error beside choices"),
    ],
)
def test_a_200_that_is_no_completion_is_no_answer_and_may_have_been_paid(content: bytes, words: str):
    with pytest.raises(TeacherUnavailable, match=words) as caught:
        complete(httpx.Response(200, content=content, headers={"retry-after": "3"}))
    assert (caught.value.maybe_paid, caught.value.retry_after) == (True, 3.0)


def test_a_429_within_a_200_is_a_429():
    told = {"error": {"code": 429, "message": "Rate limited upstream"}}
    with pytest.raises(RateLimited, match="Rate limited upstream") as caught:
        complete(httpx.Response(200, json=told, headers={"retry-after": "3"}))
    assert caught.value.retry_after == 3.0


def test_a_200_that_is_no_completion_does_not_show_that_the_endpoint_works():
    async def ask() -> None:
        left = iter([httpx.Response(200, content=b"<html>"), refusal(400, "that is odd")])
        connection = openai.AsyncOpenAI(
            api_key="none",
            base_url="http://teacher/v1",
            max_retries=0,
            http_client=mocked(lambda _: next(left)),
        )
        teacher = Teacher.model_validate({"model": "m", "baseUrl": "http://teacher/v1"})
        async with TeacherClient(teacher, connection) as client:
            for error in (TeacherUnavailable, ConfigurationError):
                with pytest.raises(error):
                    await client.complete([{"role": "user", "content": "x"}], {"type": "object"})

    asyncio.run(ask())


TOP_K = {"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}
DEEP = {"type": "extra_forbidden", "loc": ["body", "response_format", "json_schema"], "msg": "not permitted"}


@pytest.mark.parametrize(
    ("status", "document", "left_out"),
    [
        pytest.param(422, {"detail": [TOP_K]}, {"top_k"}, id="FastAPI's list of problems"),
        pytest.param(422, {"detail": [TOP_K, TOP_K]}, {"top_k"}, id="the same problem twice"),
        pytest.param(422, {"message": {"detail": [TOP_K]}, "param": None}, {"top_k"}, id="Mistral's, in the message"),
        pytest.param(422, {"detail": "top_k is not known"}, {"top_k"}, id="words only"),
        pytest.param(422, {"detail": ["top_k is not known"]}, {"top_k"}, id="a list of words"),
        pytest.param(422, {"error": {"message": "no", "param": "top_k"}}, {"top_k"}, id="422 in OpenAI's form"),
        pytest.param(400, {"detail": [TOP_K]}, {"top_k"}, id="400 in FastAPI's form"),
        pytest.param(422, {"detail": [DEEP]}, {"json_schema"}, id="a place within a parameter"),
    ],
)
def test_what_is_refused_is_left_out_of_the_next_request(status: int, document: dict[str, Any], left_out: set[str]):
    refused, taken = httpx.Response(status, json=document), httpx.Response(200, content=body())
    parameters = {"top_k": "40", "temperature": "0.5"}
    reply, (before, after) = complete(refused, taken, parameters=parameters, messages=SYSTEM_AND_USER)
    assert reply.text == "hi"
    assert after["messages"] == before["messages"] == SYSTEM_AND_USER
    assert parts(before) - parts(after) == left_out


def parts(sent: dict[str, Any]) -> set[str]:
    """The parameters of a request, and those of its response_format."""
    return set(sent) | set(sent["response_format"])


def test_a_422_about_nothing_that_could_be_changed_is_told_with_its_words():
    place = {"type": "missing", "loc": ["body", "project"], "msg": "Field required"}
    with pytest.raises(ConfigurationError, match=r"refused a request \(422\).*project: Field required"):
        complete(httpx.Response(422, json={"detail": [place]}))


def refusal(status: int, message: str, code: Any = None, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "param": None, "code": code, **more}})


SYSTEM_AND_USER = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
O1_MINI = "Unsupported value: 'messages[0].role' does not support 'system' with this model."
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(refusal(400, "System role not supported", 400), id="Gemma's template in vLLM"),
        pytest.param(refusal(400, O1_MINI, "unsupported_value", param="messages[0].role"), id="o1-mini"),
        pytest.param(refusal(400, "Developer instruction is not enabled for models/gemma", 400), id="Google's Gemma"),
        pytest.param(refusal(400, ALTERNATE, 400), id="Mistral's template"),
        pytest.param(refusal(500, "Jinja Exception: System role not supported", 500), id="llama.cpp"),
    ],
)
def test_where_the_role_system_is_refused_its_text_begins_the_users_from_then_on(refused: httpx.Response):
    answer = httpx.Response(200, content=body())
    reply, (before, *after) = complete(refused, answer, answer, messages=SYSTEM_AND_USER, times=2)
    assert reply.text == "hi"
    assert [sent["messages"] for sent in after] == [[{"role": "user", "content": "s\n\nu"}]] * 2
    assert after[0] == before | {"messages": after[0]["messages"]}


NOT_VALID = "Generated JSON does not match the expected schema. Please adjust your prompt."
TOO_LONG = "the request exceeds the available context size, try increasing it"


@pytest.mark.parametrize(
    ("refused", "finish", "free"),
    [
        pytest.param(refusal(400, "Your prompt was flagged.", "invalid_prompt"), "content_filter", False, id="OpenAI"),
        pytest.param(refusal(400, NOT_VALID, "json_validate_failed"), "refused", False, id="Groq, of what was written"),
        pytest.param(
            refusal(400, "prompt is too long: 210000 tokens > 200000 maximum"), "context_length", True, id="Anthropic"
        ),
        pytest.param(
            refusal(400, "The input token count (12) exceeds the maximum number of tokens allowed (10).", 400),
            "context_length",
            True,
            id="Gemini",
        ),
        pytest.param(
            refusal(400, TOO_LONG, 400, type="exceed_context_size_error"), "context_length", True, id="llama.cpp"
        ),
    ],
)
def test_a_refusal_that_is_about_one_row_rejects_it_with_the_endpoints_words(
    refused: httpx.Response, finish: str, free: bool
):
    reply, (body_sent,) = complete(refused)
    assert (reply.finish, reply.text) == (finish, refused.json()["error"]["message"])
    assert (reply.usage == Usage(teacher_requests=1)) == free  # else charged by estimate
    reply, bodies = complete(refused, httpx.Response(200, content=body()), times=2)
    assert bodies == [body_sent, body_sent]  # and nothing is left out from then on


FLAGGED = "Your chosen model requires moderation and your input was flagged for violence"
PER_MINUTE = "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 6500: see /billing"


@pytest.mark.parametrize(
    ("refused", "error", "finish"),
    [
        pytest.param(refusal(403, FLAGGED, 403), AuthenticationError, "content_filter", id="OpenRouter's moderation"),
        pytest.param(refusal(413, PER_MINUTE, "rate_limit_exceeded"), ConfigurationError, "refused", id="Groq's 413"),
        pytest.param(refusal(400, "that is odd"), ConfigurationError, "refused", id="400 that names nothing"),
        pytest.param(
            httpx.Response(422, json={"detail": [{"loc": ["body", "messages", 1], "msg": "no"}]}),
            ConfigurationError,
            "refused",
            id="422 about the messages",
        ),
    ],
)
def test_what_is_refused_once_another_row_was_answered_costs_its_row(
    refused: httpx.Response, error: type[StepError], finish: str
):
    with pytest.raises(error):
        complete(refused)
    reply, _ = complete(httpx.Response(200, content=body()), refused, times=2)
    assert (reply.finish, reply.usage is None) == (finish, False)
    assert reply.text


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        pytest.param(refusal(403, "You are not allowed to use this model"), AuthenticationError, id="a forbidden key"),
        pytest.param(refusal(400, "API key not valid. Please pass one."), ConfigurationError, id="Gemini, of the key"),
        pytest.param(refusal(400, "Your credit balance is too low"), ConfigurationError, id="Anthropic, of money"),
        pytest.param(refusal(400, "It is gone", "model_decommissioned"), ConfigurationError, id="Groq, of the model"),
        pytest.param(refusal(400, "no such", param="model"), ConfigurationError, id="the model as the parameter"),
    ],
)
def test_what_is_refused_of_every_row_ends_the_step_also_after_answers(refused: httpx.Response, error: type[StepError]):
    with pytest.raises(error):
        complete(httpx.Response(200, content=body()), refused, times=2)


def test_why_an_endpoint_cannot_be_reached_is_told():
    nobody = Generate.model_validate({"teacher": {"model": "m", "baseUrl": "http://127.0.0.1:1/v1"}})
    with pytest.raises(Transient, match=rf"cannot be reached: .*{errno.ECONNREFUSED}"):
        probe(nobody, {})


def test_the_words_of_an_endpoint_that_forbids_are_told():
    with pytest.raises(AuthenticationError, match=r"refused the key \(403\): .*; it says: Your region is not served"):
        complete(refusal(403, "Your region is not served"))


@pytest.mark.parametrize(
    ("status", "maybe_paid"),
    [
        pytest.param(500, False, id="an error of the server"),
        pytest.param(503, False, id="a server that takes nothing"),
        pytest.param(504, True, id="a gateway's timeout"),
        pytest.param(524, True, id="Cloudflare's timeout"),
    ],
)
def test_a_request_that_a_gateway_gave_up_may_have_been_paid(status: int, maybe_paid: bool):
    with pytest.raises(TeacherUnavailable) as caught:
        complete(httpx.Response(status, content=b"<html>", headers={"retry-after": "3"}))
    assert (caught.value.maybe_paid, caught.value.retry_after) == (maybe_paid, 3.0)

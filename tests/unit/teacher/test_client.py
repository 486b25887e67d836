"""What the client makes of an endpoint's answers, whatever they are."""

from __future__ import annotations

import asyncio

import httpx
import openai
import pytest
from tests.support.mockteacher import body, complete, mocked, refusal

from llm2llm.api.generate import Generate, Teacher
from llm2llm.errors import AuthenticationError, ConfigurationError, Transient
from llm2llm.teacher.client import RateLimited, TeacherClient, TeacherUnavailable
from llm2llm.teacher.probe import probe


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
def test_fault_58_a_200_that_is_no_completion_is_no_answer_and_may_have_been_paid(content: bytes, words: str):
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


def test_why_an_endpoint_cannot_be_reached_is_told():
    nobody = Generate.model_validate({"teacher": {"model": "m", "baseUrl": "http://127.0.0.1:1/v1"}})
    with pytest.raises(Transient, match=r"cannot be reached: nothing listens there \(connection refused\)"):
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


def asked(*responses: httpx.Response, chats: int) -> list[str]:
    """What becomes of so many different chats, where the endpoint answers with these, in turn: a finish, or an error."""
    left = iter(responses)

    async def ask() -> list[str]:
        connection = openai.AsyncOpenAI(
            api_key="none", base_url="http://teacher/v1", max_retries=0, http_client=mocked(lambda _: next(left))
        )
        teacher = Teacher.model_validate({"model": "m", "baseUrl": "http://teacher/v1"})
        ends: list[str] = []
        async with TeacherClient(teacher, connection) as client:
            for number in range(chats):
                try:
                    reply = await client.complete([{"role": "user", "content": str(number)}], {"type": "object"})
                    ends.append(reply.finish)
                except (TeacherUnavailable, ConfigurationError) as error:
                    ends.append(f"{type(error).__name__}: {error}")
        return ends

    return asyncio.run(ask())


ANSWER = httpx.Response(200, content=body())
ODD = refusal(400, "that is odd")


def test_fault_58_refusals_of_different_rows_in_a_row_are_the_endpoints_fault():
    ends = asked(ANSWER, *[ODD] * 6, ANSWER, ODD, chats=9)
    assert ends[:5] == ["stop", "refused", "refused", "refused", "refused"]
    for end in ends[5:7]:
        assert end.startswith("TeacherUnavailable")
        assert "different requests in a row, the last with: that is odd" in end
    assert ends[7:] == ["stop", "refused"]


@pytest.mark.parametrize("status", [424, 498, 418])
def test_fault_58_an_unknown_status_after_an_answer_may_pass_by_itself(status: int):
    words = httpx.Response(
        status, json={"error": "Request failed during generation: Server error", "error_type": "generation"}
    )
    [first] = asked(words, chats=1)
    assert first.startswith("ConfigurationError")
    _, second = asked(ANSWER, words, chats=2)
    assert second.startswith("TeacherUnavailable")
    assert f"{status} Request failed during generation: Server error" in second

"""What a client leaves out or sends otherwise once an endpoint has refused it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.support.mockteacher import SYSTEM_AND_USER, body, complete, refusal

from llm2llm.teacher.dialect import Dialect

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


def dialect(**parameters: str) -> Dialect:
    return Dialect(parameters)


def test_parameters_are_sent_as_what_they_are_and_those_that_the_client_does_not_know_beside_them() -> None:
    spoken = dialect(temperature="0.5", seed="7", stop='["\\n"]', reasoning_effort="high", top_k="40", cache="true")
    arguments = spoken.arguments({"type": "object"})

    assert arguments.pop("extra_body") == {"top_k": 40, "cache": True}
    assert arguments.pop("response_format")["json_schema"]["schema"] == {"type": "object"}
    assert arguments == {"temperature": 0.5, "seed": 7, "stop": ["\n"], "reasoning_effort": "high"}


@pytest.mark.parametrize(
    ("named", "message", "change"),
    [
        pytest.param(["response_format"], "no", "it does not support json_schema; requesting json_object instead", id="a form"),
        pytest.param([], "use max_completion_tokens in place of max_tokens", "max_tokens is now sent as max_completion_tokens", id="a name"),
        pytest.param([], "top_k is not known", "top_k is no longer sent", id="a parameter"),
    ],
)  # fmt: skip
def test_requests_in_flight_that_are_refused_for_the_same_reason_change_nothing_more(
    named: list[str], message: str, change: str
) -> None:
    spoken = dialect(max_tokens="300", top_k="40")
    sent = spoken.arguments({})
    assert spoken.adapt(sent, named, message) == change
    learned = spoken.arguments({})

    assert spoken.adapt(sent, named, message) == ""
    assert spoken.arguments({}) == learned != sent


def test_a_form_is_simplified_step_by_step_until_none_is_asked_for() -> None:
    spoken = dialect()
    told = [spoken.adapt(spoken.arguments({}), ["response_format"], "no") for _ in range(3)]

    assert told == [
        "it does not support json_schema; requesting json_object instead",
        "it does not support json_object; parsing text instead",
        None,
    ]
    assert spoken.arguments({}) == {}


def test_a_schema_that_is_refused_in_words_is_the_form() -> None:
    spoken = dialect(temperature="1")
    assert spoken.adapt(spoken.arguments({}), [], "Invalid schema for function") is not None
    assert spoken.form == "json_object"


def test_a_name_that_was_taken_from_a_refusal_and_is_refused_too_is_left_out() -> None:
    spoken = dialect(max_tokens="300")
    spoken.adapt(spoken.arguments({}), ["max_tokens"], "use max_completion_tokens instead")
    assert spoken.arguments({})["max_completion_tokens"] == 300

    told = spoken.adapt(spoken.arguments({}), ["max_completion_tokens"], "not with this model")
    assert told == "max_tokens is no longer sent"
    assert spoken.arguments({}).keys() == {"response_format"}


@pytest.mark.parametrize(
    "message", ["the top_keys of this account", "your stopwords are odd", "the model is overloaded", ""]
)
def test_a_refusal_that_names_no_part_of_the_request_teaches_nothing(message: str) -> None:
    spoken = dialect(top_k="40", stop="x")
    sent = spoken.arguments({})
    assert spoken.adapt(sent, ["project"], message) is None
    assert spoken.arguments({}) == sent


@pytest.mark.parametrize(
    ("chat", "sent"),
    [
        pytest.param(["system", "user"], [("user", "0\n\n1")], id="the system's text begins the user's"),
        pytest.param(["system", "user", "assistant"], [("user", "0\n\n1"), ("assistant", "2")], id="and the rest follows"),
        pytest.param(["user", "assistant"], [("user", "0"), ("assistant", "1")], id="without a system nothing changes"),
        pytest.param(["system"], [("system", "0")], id="there is nobody to tell it to"),
    ],
)  # fmt: skip
def test_an_endpoint_without_the_role_system_gets_the_same_text(chat: list[str], sent: list[tuple[str, str]]) -> None:
    spoken = dialect()
    messages = [{"role": role, "content": str(number)} for number, role in enumerate(chat)]
    assert spoken.messages(messages) == messages
    refused = spoken.adapt_roles(SYSTEM_AND_USER, "System role not supported")

    assert refused
    assert "whose text now starts the user message" in refused
    assert spoken.adapt_roles(SYSTEM_AND_USER, "System role not supported") == ""
    assert spoken.adapt_roles(SYSTEM_AND_USER[1:], "System role not supported") is None
    assert spoken.adapt_roles(SYSTEM_AND_USER, "the system is overloaded") is None
    assert [(message["role"], message["content"]) for message in spoken.messages(messages)] == sent

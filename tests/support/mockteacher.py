"""The real client of a teacher over a transport without a network: a test says what the endpoint answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai

from llm2llm.api.generate import Teacher
from llm2llm.records import Usage
from llm2llm.teacher.client import TeacherClient
from llm2llm.teacher.reply import Reply

COUNTED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
USAGE = Usage(teacher_requests=1, teacher_input_tokens=3, teacher_output_tokens=2)
SYSTEM_AND_USER = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]


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


def refusal(status: int, message: str, code: Any = None, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "param": None, "code": code, **more}})

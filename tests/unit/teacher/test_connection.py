"""The connection to a teacher: its address with a query, its headers, and the environment's proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.support.mockteacher import body, mocked

from llm2llm.api.generate import Teacher
from llm2llm.errors import AuthenticationError, ConfigurationError
from llm2llm.teacher import connection
from llm2llm.teacher.connection import connect, split_query

KEY = "LLM2LLM_TEACHER_API_KEY"


def teacher(base_url: str = "http://teacher/v1", **fields: Any) -> Teacher:
    return Teacher.model_validate({"model": "m", "baseUrl": base_url, **fields})


def requested(monkeypatch: pytest.MonkeyPatch, settings: Teacher, environ: dict[str, str]) -> httpx.Request:
    """The request that a teacher with these settings is sent."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=body())

    monkeypatch.setattr(connection, "_http_client", lambda *_: mocked(answer))

    async def ask() -> None:
        async with connect(settings, environ) as client:
            await client.complete([{"role": "user", "content": "x"}], {"type": "object"})

    asyncio.run(ask())
    return seen[0]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://t/v1", "http://t/v1/chat/completions"),
        ("http://t/v1/", "http://t/v1/chat/completions"),
        (
            "https://x.azure.com/openai/deployments/gpt?api-version=2024-10-21",
            "https://x.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
        ("http://t/v1/?a=1&b=&c=x%20y", "http://t/v1/chat/completions?a=1&b=&c=x+y"),
    ],
)
def test_a_query_stays_behind_the_path(monkeypatch: pytest.MonkeyPatch, base_url: str, url: str):
    found = requested(monkeypatch, teacher(base_url), {}).url
    assert str(found).replace("%20", "+") == url


def test_a_query_is_split_off():
    assert split_query("https://u:p@h:1/a/b?c=d&c2=") == ("https://u:p@h:1/a/b", {"c": "d", "c2": ""})
    assert split_query("http://h") == ("http://h", {})


def test_a_key_is_sent_without_its_newline_and_headers_as_they_are(monkeypatch: pytest.MonkeyPatch):
    request = requested(monkeypatch, teacher(extraHeaders={"X-Team": "research ~!"}), {KEY: "sk-1\n"})
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["x-team"] == "research ~!"


@pytest.mark.parametrize(
    "headers", [{"X-Team": "Köln"}, {"X-Team": "a\nb"}, {"X-Größe": "1"}, {"X": "\u200b"}, {"X": "a\0"}]
)
def test_a_header_that_cannot_be_sent_is_named(headers: dict[str, str]):
    with pytest.raises(ConfigurationError, match=r"^spec\.generate\.teacher\.extraHeaders\[.*printable ASCII only"):
        connect(teacher(extraHeaders=headers), {})


@pytest.mark.parametrize(
    "proxy",
    ["http://me:pa#ss@proxy:3128", "http://me:pa/ss@proxy:3128", "ftp://proxy:21", "http://proxy:port", "http://[::1"],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=r"the proxy in HTTPS_PROXY cannot be used .*%23") as caught:
        connect(teacher("https://teacher/v1"), {"HTTPS_PROXY": proxy})
    assert "pa#ss" not in str(caught.value)
    connect(teacher("http://127.0.0.1:1/v1"), {"HTTPS_PROXY": proxy})  # which goes past it


@pytest.mark.parametrize("proxy", ["socks5h://proxy:1080", "socks5://me:pa%23ss@proxy", "http://me:pa%23ss@proxy:3128"])
def test_a_proxy_of_another_kind_works(monkeypatch: pytest.MonkeyPatch, proxy: str):
    monkeypatch.setenv("ALL_PROXY", proxy)
    connect(teacher("https://teacher/v1"), {"ALL_PROXY": proxy})


def test_a_missing_key_and_a_timeout_that_is_none_are_told():
    named = teacher(apiKeySecretRef={"name": "teacher", "key": "api-key"})
    with pytest.raises(AuthenticationError, match=r"Secret teacher, key api-key .* does not exist or is empty"):
        connect(named, {KEY: " \n"})
    with pytest.raises(ConfigurationError, match="TEACHER_TIMEOUT_SECONDS must be a number"):
        connect(teacher(), {"TEACHER_TIMEOUT_SECONDS": "soon"})


@pytest.mark.parametrize("status", [401, 403, 400, 404, 429, 500, 503])
def test_a_key_that_an_endpoint_echoes_is_in_no_message(monkeypatch: pytest.MonkeyPatch, status: int):
    key = "sk-" + "0123456789" * 20
    words = "x" * 280 + f" wrong key {key}"
    response = httpx.Response(status, json={"error": {"message": words}})
    monkeypatch.setattr(connection, "_http_client", lambda *_: mocked(lambda _: response))

    async def ask() -> None:
        async with connect(teacher(), {KEY: f"{key}\n"}) as client:
            await client.complete([{"role": "user", "content": "x"}], {"type": "object"})

    with pytest.raises(Exception, match="teacher") as caught:
        asyncio.run(ask())
    assert "sk-0123" not in str(caught.value)

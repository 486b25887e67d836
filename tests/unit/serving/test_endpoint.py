"""What the endpoint of `llm2llm serve` answers, over a real connection, to curl and to the client of OpenAI."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from tests.support.lettermodel import letter_student

from llm2llm.errors import ConfigurationError, GpuOutOfMemory
from llm2llm.serving.endpoint import MAX_BODY, StudentServer
from llm2llm.serving.predictor import Predictor

USER = [{"role": "user", "content": "yes it is"}]


@contextmanager
def serving(student: Predictor) -> Iterator[StudentServer]:
    with StudentServer("127.0.0.1", 0) as server:
        server.student = student
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[StudentServer]:
    with serving(letter_student(chat=True)) as running:
        yield running


@pytest.fixture
def client(server: StudentServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


def request(server: StudentServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_a_row_is_answered_by_the_run_s_template(server: StudentServer):
    assert request(server, "POST", "/predict", {"text": "no, never"}) == (
        200, {"answer": "NO,", "label": None, "truncated": False, "prompt": "no, never =>"}
    )  # fmt: skip
    assert request(server, "POST", "/predict", {"text": "no never", "more": "x"})[1]["label"] == "NO"
    assert request(server, "POST", "/predict", {"text": "hippopotamus"})[1]["truncated"] is True


def test_it_says_that_it_is_there_and_which_model_it_has(server: StudentServer, client: openai.OpenAI):
    assert request(server, "GET", "/health") == (200, {})
    assert [model.id for model in client.models.list()] == ["words"]
    assert client.models.retrieve("words").owned_by == "team-a"


def test_the_client_of_openai_completes_a_text(client: openai.OpenAI):
    told = client.completions.create(model="words", prompt="yes it is")
    assert (told.choices[0].text, told.choices[0].finish_reason) == ("YES", "stop")
    assert told.usage
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (10, 4, 14)
    cut = client.completions.create(model="words", prompt="yes it is", max_tokens=2)
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == ("YE", "length")
    stopped = client.completions.create(model="words", prompt="yes it is", stop=["S", "E"])
    assert (stopped.choices[0].text, stopped.choices[0].finish_reason) == ("Y", "stop")
    sampled = [client.completions.create(model="words", prompt="abcdef", temperature=1, seed=5) for _ in range(2)]
    assert sampled[0].choices[0].text == sampled[1].choices[0].text != "ABCDEF"


def test_the_client_of_openai_chats_and_streams(client: openai.OpenAI):
    messages: Any = [{"role": "system", "content": "no"}, *USER]
    told = client.chat.completions.create(model="words", messages=messages)
    assert told.choices[0].message.content == "NO"
    streamed = list(client.chat.completions.create(model="words", messages=messages, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == "NO"
    texts = list(client.completions.create(model="words", prompt="a b", stream=True))
    assert [part.choices[0].text for part in texts] == ["A"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/", None, 404, "there is no GET /; there are GET /health"),
        ("GET", "/predict", None, 404, "there is no GET /predict"),
        ("POST", "/predict", b"{", 400, "the body is not JSON"),
        ("POST", "/predict", ["a"], 400, "the body must be a JSON object"),
        ("POST", "/predict", {"text": 3}, 400, "a row is an object of strings, but 'text' is none"),
        ("POST", "/predict", {"txt": "a"}, 400, "'text' is not a field of the row: did you mean 'txt'?"),
        ("POST", "/v1/completions", {}, 400, "prompt: Field required"),
        ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 0}, 400, "max_tokens: Input should be greater"),
        ("POST", "/v1/completions", {"prompt": "a", "n": 2}, 400, "n is not supported here: leave it out"),
        ("POST", "/v1/completions", {"prompt": "a", "model": "b"}, 404, "there is no model 'b', only 'words'"),
        ("POST", "/v1/completions", {"prompt": "a" * 200}, 400, "the model's context is 100"),
        ("POST", "/v1/chat/completions", {"messages": []}, 400, "messages: List should have at least 1 item"),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "assistant", "content": "a"}]}, 400,
         "the tokenizer's chat template refuses these messages: the last turn must be the user's"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_as_openai_does(
    server: StudentServer, method: str, path: str, body: Any, status: int, words: str
):
    code, document = request(server, method, path, body)
    assert (code, document["error"]["type"]) == (status, "invalid_request_error")
    assert words in document["error"]["message"]


def test_a_body_without_a_length_or_with_too_much_is_not_read(server: StudentServer):
    assert request(server, "POST", "/predict", None, **{"Content-Length": "x"})[0] == 411
    assert request(server, "POST", "/predict", None, **{"Content-Length": str(MAX_BODY + 1)})[0] == 413


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def generate(self, *_: Any) -> Iterator[Any]:
        raise self.error
        yield


def test_a_request_that_fails_ends_no_other(capsys: pytest.CaptureFixture[str]):
    student = letter_student()
    student.engine = Broken(GpuOutOfMemory("the GPU is too small", 1))
    with serving(student) as server:
        code, document = request(server, "POST", "/v1/completions", {"prompt": "a"})
        assert (code, document["error"]["message"]) == (500, "the GPU is too small")
        student.engine = Broken(RuntimeError("what nobody foresaw"))
        code, document = request(server, "POST", "/v1/completions", {"prompt": "a"})
        assert (code, document["error"]["type"]) == (500, "server_error")
        assert request(server, "GET", "/health") == (200, {})
        assert request(server, "POST", "/v1/chat/completions", {"messages": USER})[0] == 400
    assert "what nobody foresaw" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(server: StudentServer):
    port = server.server_address[1]
    with pytest.raises(ConfigurationError, match=f"cannot listen at 127.0.0.1:{port} .*: choose another --port"):
        StudentServer("127.0.0.1", int(port))

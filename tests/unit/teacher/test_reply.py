"""What is read from the body of a completion, whatever is in it."""

from __future__ import annotations

import pytest
from tests.support.mockteacher import COUNTED, USAGE, body

from llm2llm.teacher.ratelimit_headers import RateLimitHeader
from llm2llm.teacher.reply import TEXT_LIMIT, NoCompletion, Reply, read_reply, storable

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
    assert read_reply(content, {}) == reply


def test_what_the_headers_announce_comes_with_every_reply() -> None:
    announced = {"requests": RateLimitHeader(100, 7, 60.0)}
    for content in (body(), b'{"choices": []}'):
        reply = read_reply(content, announced)
        assert isinstance(reply, Reply)
        assert reply.announced == announced


def test_an_answer_without_end_is_cut_and_its_end_is_told_in_few_words() -> None:
    reply = read_reply(body("x" * (TEXT_LIMIT + 1), finish="y" * 1000), {})
    assert isinstance(reply, Reply)
    assert (len(reply.text), len(reply.finish)) == (TEXT_LIMIT, 100)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b'{"error": {"message": "overloaded", "code": 502}}', NoCompletion("overloaded", "502"), id="an error with a code"),
        pytest.param(b'{"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "Provider returned error"}, "message": {"content": ""}}]}',
                     NoCompletion("Provider returned error", "502"), id="an error that rides on a choice"),
        pytest.param(b'{"choices": [{"finish_reason": "error", "message": {"content": ""}}]}', NoCompletion("the choice ended with an error", "error"),
                     id="an end that is an error"),
        pytest.param(b'{"error": "overloaded"}', NoCompletion("overloaded"), id="an error in words"),
        pytest.param(b'{"error": {"code": null}}', NoCompletion("{'code': None}"), id="an error that says nothing"),
        pytest.param(b'{"error": {"message": "\\ud800"}}', NoCompletion("?"), id="half of a UTF-16 pair"),
        pytest.param(b"<" + b"x" * 500, NoCompletion(repr("<" + "x" * 199)), id="the beginning of a page"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_completion_is_told_in_few_words(content: bytes, told: NoCompletion) -> None:
    assert read_reply(content, {}) == told


def test_what_no_file_can_hold_is_replaced() -> None:
    assert storable("a\ud800b\U0001f600") == "a?b\U0001f600"
    assert storable("abc", 2) == "ab"

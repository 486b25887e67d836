"""What others wrote is shown as plain text on one line."""

from __future__ import annotations

import pytest

from llm2llm.plaintext import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("two rows, 3 % wrong: naïve 日本語 🙂", "two rows, 3 % wrong: naïve 日本語 🙂", id="as it is"),
        pytest.param("a\nb\r\n\tc", "a b c", id="on one line"),
        pytest.param("a\x85b\u2028c\x0bd", "a b c d", id="other line breaks"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colors"),
        pytest.param("a\x1b[2J\x1b[Hb\x9b1;1Hc", "abc", id="a cleared screen"),
        pytest.param("\x1b]0;title\x07a\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "alink", id="a title and a link"),
        pytest.param("a\x1b]0;b. Then raise spec.retry", "a0;b. Then raise spec.retry", id="a sequence without an end"),
        pytest.param("a\x1bcb\x1b(Bc", "abc", id="a reset and a character set"),
        pytest.param("a\x1b", "a", id="an escape at the end"),
        pytest.param("a\x00b\x07c\x08d\x7fe\x9ff", "abcdef", id="other control characters"),
        pytest.param("abc\u202edef\u2066ghi\u200f\u061c", "abcdefghi", id="turned directions"),
        pytest.param("a\ud800b", "ab", id="half a character"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_text_is_shown_as(text: str, shown: str):
    assert plain(text) == shown
    assert plain(shown) == shown


def test_removing_a_sequence_makes_no_new_one():
    assert "\x1b" not in plain("\x1b\x1b[0m[31m")

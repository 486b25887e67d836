"""Why an address cannot be reached, in words for whoever wrote it down."""

from __future__ import annotations

import pytest

from llm2llm.runtime.reach import why_unreachable


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("[Errno -2] Name or service not known", "its name is unknown here"),
        ("[Errno -3] Temporary failure in name resolution", "its name is unknown here"),
        ("[Errno 111] Connect call failed ('127.0.0.1', 9)", "nothing listens there (connection refused)"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "it speaks no TLS: write http://"),
        ("[Errno 101] Network is unreachable", "there is no way to it from this machine"),
        ("something else", "something else"),
    ],
)
def test_a_reason(words: str, reason: str):
    assert why_unreachable(words).startswith(reason)

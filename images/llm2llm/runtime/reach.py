"""PURE: says in plain words why an address cannot be reached, and what to do, from what a library says."""

from __future__ import annotations

import re

_REASONS = (
    (
        (
            r"name or service not known|temporary failure in name resolution|nodename nor servname"
            r"|no address associated|getaddrinfo"
        ),
        "its name is unknown here: check its spelling, and this machine's network and DNS",
    ),
    (
        r"errno 111|connection refused|connect call failed",
        "nothing listens there (connection refused): check host and port, and whether the server runs",
    ),
    (
        r"wrong_version_number|unknown_protocol|record layer failure",
        "it speaks no TLS: write http:// instead of https://",
    ),
    (r"network is unreachable|no route to host", "there is no way to it from this machine: check the network"),
)


def why_unreachable(words: str) -> str:
    """Returns why an address cannot be reached, in place of a library's words; the same words if they are others."""
    return next((reason for pattern, reason in _REASONS if re.search(pattern, words, re.IGNORECASE)), words)

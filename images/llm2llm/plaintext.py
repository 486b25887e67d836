r"""Makes a text that others wrote fit to be shown in a terminal, a status, a log, or a page: plain, on one line.

Whoever writes the text (a pod's image, a teacher, an Event, a model card) must not steer what shows it: a terminal acts
on escape sequences, and a reader is deceived by characters that turn the direction of what follows.
"""

from __future__ import annotations

import re

_ESCAPE_SEQUENCES = re.compile(
    r"\x1b\](?:[^\x07\x1b]*(?:\x07|\x1b\\))?"  # OSC: titles and links of a terminal; without its end, its mark alone
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colors, cursor, clearing
    r"|\x1b[ -/]*[0-~]?"  # other escapes
)
_BLANKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, characters that turn the direction of text (Unicode's UAX 9), and surrogates."""


def plain_lines(text: str) -> str:
    """Returns a text as `plain` does, but keeps its lines."""
    return "\n".join(map(plain, text.splitlines()))


def plain(text: str) -> str:
    """Returns a text on one line, without escape sequences, control characters, and changes of direction."""
    return _INVISIBLE.sub("", _BLANKS.sub(" ", _ESCAPE_SEQUENCES.sub("", text)))

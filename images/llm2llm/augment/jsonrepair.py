r"""Repairs what language models write as JSON before it is parsed: TeX commands, invalid escapes, trailing commas.

JSON reads `\times` as a tab and "imes", and the row would be kept. So the commands of TeX that begin like one of JSON's
escapes get their backslash escaped, and so does every backslash that begins no escape at all. Only then is the text
parsed for the first time.
"""

from __future__ import annotations

import re

TEX = frozenset(
    """bar because begin beta beth between bigcap bigcup bigl bigoplus bigotimes bigr binom bmod boldsymbol bot bowtie
    boxed breve bullet
    fbox flat forall frac frown
    nabla natural ncong nearrow neg neq newline nexists ngeq nleq nmid not notin nparallel nsim nsubseteq nwarrow
    rangle rbrace rceil rfloor rho right rightarrow rightleftharpoons rtimes
    tan tanh tau tbinom text textbf textit textrm textstyle textup tfrac therefore theta tilde times top triangle
    triangleleft triangleq triangleright twoheadrightarrow""".split()  # noqa: SIM905 - a dictionary reads better so
)
"""Commands of TeX, LaTeX and amsmath that begin with the letter of one of JSON's escapes: b, f, n, r or t."""
AMBIGUOUS = frozenset({"ne", "ni", "nu", "to", "rm", "big", "bf", "tt"})
"""Commands that are a line break or a tab before a short word as well: repaired only where other TeX is in the text."""
_ESCAPE = re.compile(r"\\(?:(\\)|(u[0-9a-fA-F]{4})|([A-Za-z]+)|(.))", re.DOTALL)
_MATHS = re.compile(r"\$|\\\\?[()\[\]]|\\(?:frac|times|cdot|sqrt|sum|int|le|ge|alpha|theta|pi)\b")
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)


def repaired(text: str) -> str:
    """Returns the text with TeX commands and invalid escapes escaped, and without trailing commas."""
    if "\\" in text:
        commands = TEX | AMBIGUOUS if _MATHS.search(text) else TEX
        text = _ESCAPE.sub(lambda found: _escaped(found, commands), text)
    return _TRAILING_COMMA.sub(lambda found: found[1] or "", text)


def _escaped(found: re.Match[str], commands: frozenset[str]) -> str:
    escape, (backslash, code, word, other) = found[0], found.groups()
    if backslash or code:
        return escape
    valid = word[0] in "bfnrt" and word not in commands if word else other in '"/'
    return escape if valid else f"\\{escape}"

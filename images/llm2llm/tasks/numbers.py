"""PURE: the number that an answer states, as an exact fraction.

What people and models put around a number does not change it: currency, units, per cent, thousands separators, another
minus sign. What leaves open which number is meant is no answer: none at all, several, or separators at odd places.
"""

from __future__ import annotations

import re
from fractions import Fraction

_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " ")
_MINUSES = dict.fromkeys(map(ord, "\u2212\u2012\u2013\ufe63\uff0d"), "-")
_CURRENCY = dict.fromkeys(map(ord, "$\u20ac\u00a3\u00a5\u20b9*_`\\"), None)
"""Signs of currency, and the emphasis and escapes of Markdown and TeX."""
_NUMBER = re.compile(
    r"(?<![\w.,/^])(?P<sign>[-+]\s?)?"
    r"(?P<whole>\d[\d,]*)?(?P<decimals>\.\d+)?(?P<exponent>[eE][-+]?\d{1,3}(?!\w))?"
    r"(?:\s?/\s?(?P<divisor>\d+))?"
)
_THIN_GROUPS = re.compile("(?<=\\d)[\u00a0\u2007\u2009\u202f](?=\\d{3}(?!\\d))")
_GOES_ON = re.compile(r"[.,/:]\d|\s?\^")
"""After a number: it was a part of something else, a power or a version."""
_MIXED = re.compile(r"(?<![\w.,/])(-?)(\d+)\s+(\d+)\s?/\s?(\d+)(?![\w/])")
_GROUPS = re.compile(r"\d{1,3}(,\d{3})+|\d+")


def number_in(text: str) -> Fraction | None:
    """The one number that a text states; None where it states none, or several that differ."""
    text = _THIN_GROUPS.sub("", text).translate(_SPACES | _MINUSES | _CURRENCY)
    text = _MIXED.sub(lambda found: f"{found[1]}{int(found[2]) * int(found[4]) + int(found[3])}/{found[4]}", text)
    values: set[Fraction] = set()
    for found in _NUMBER.finditer(text):
        if found["whole"] is None and found["decimals"] is None:
            continue
        value = _value(found)
        if value is None or _GOES_ON.match(text, found.end()):
            return None
        values.add(value)
    return values.pop() if len(values) == 1 else None


def _value(found: re.Match[str]) -> Fraction | None:
    whole = (found["whole"] or "0").removesuffix(",")
    if not _GROUPS.fullmatch(whole):
        return None
    value = Fraction(whole.replace(",", "") + (found["decimals"] or "") + (found["exponent"] or ""))
    if found["divisor"] is not None:
        if int(found["divisor"]) == 0:
            return None
        value /= int(found["divisor"])
    return -value if (found["sign"] or "").startswith("-") else value

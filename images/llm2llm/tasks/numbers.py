"""PURE: the number that an answer states, as an exact fraction.

What people and models put around a number does not change it: currency, units, per cent, thousands separators,
emphasis, another minus sign. What leaves open which number is meant is no answer: none at all, several, a
calculation, or separators at odd places.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " ")
_MINUSES = dict.fromkeys(map(ord, "\u2212\u2012\u2013\ufe63\uff0d"), "-")
_SLASHES = dict.fromkeys(map(ord, "\u2044\u2215"), "/")
_PARTS = {
    ord(sign): " " + unicodedata.normalize("NFKC", sign).replace("\u2044", "/")
    for sign in "\u00bd\u00bc\u00be\u2153\u2154\u2155\u2156\u2157\u2158\u2159\u215a\u215b\u215c\u215d\u215e"
}
"""One half, one quarter and so on, written as one sign: to ` 1/2`, so that 1\u00bd reads as `1 1/2`."""
_CURRENCY = r"[$\u20ac\u00a3\u00a5\u20b9`\\]"
"""Signs of currency, and the escapes of Markdown and TeX."""
_AROUND = re.compile(rf"(?<!\d){_CURRENCY}|{_CURRENCY}(?!\d)")
"""Never between digits: what goes must not make one number of two."""
_EMPHASIS = re.compile(r"(?<![\w*])(?P<mark>\*+|_+)(?=[^\s*_])(?P<inner>[^\n]{0,200}?[^\s*_])(?P=mark)(?![\w*])")
"""Of Markdown: in pairs, not within a word, and of a line or two: a search without end takes the square of its text."""
_NUMBER = re.compile(
    r"(?<![\w.,/^\u221a])(?P<sign>[-+]\s?)?"
    r"(?P<whole>\d[\d,]*)?(?P<decimals>\.\d+)?(?P<exponent>[eE][-+]?\d{1,3}(?!\w))?"
    r"(?:\s?/\s?(?P<divisor>\d+))?"
)
_THIN_GROUPS = re.compile("(?<=\\d)[\u00a0\u2007\u2009\u202f_](?=\\d{3}(?!\\d))")
_GOES_ON = re.compile(
    rf"(?:[.,/:_xX]|{_CURRENCY})\d|[eE][-+]?\d|\s?\^|[\u00b2\u00b3\u00b9\u2070-\u2079\u207a\u207b\u207f\u2080-\u2089]"
)
"""After a number: it was a part of something else, a power or a version."""
_OPERATOR = re.compile(
    r".*[*+\u00d7\u00b7\u22c5\u2219\u2217\u00f7\u00b1].*"
    r"|[^\W\d]*[\s%)\]}]*[-/%][\s(\[{]*-?"
    r"|\W*(?:[xX]|times|cdot|div|plus|minus|over|mod|divided by|multiplied by)\W*"
    r"|\s*\}\s*\{\s*"
)
"""All that stands between two numbers of a calculation, in one line; the last is a fraction of TeX."""
_MIXED = re.compile(r"(?<![\w.,/])(-?)(\d[\d,]*)\s+(\d+)\s?/\s?(\d+)(?![\w/])")
_GROUPS = re.compile(r"\d{1,3}(,\d{3})+|\d+")
_LONGEST = 1000
"""Characters of a number: one that does not end is no answer, and Python reads none of more than 4,300 digits."""


def number_in(text: str) -> Fraction | None:
    """The one number that a text states; None where it states none, several that differ, or a calculation."""
    values: set[Fraction] = set()
    text, end = _plain(text), -1
    for found in _NUMBER.finditer(text):
        if found["whole"] is None and found["decimals"] is None:
            continue
        value = _value(found)
        if value is None or _GOES_ON.match(text, found.end()):
            return None
        if end >= 0 and _OPERATOR.fullmatch(text, end, found.end("sign") if found["sign"] else found.start()):
            return None
        values.add(value)
        end = found.end()
    return values.pop() if len(values) == 1 else None


def _plain(text: str) -> str:
    """The text without what stands around its numbers, and with one way to write a minus, a space and a fraction."""
    text = _THIN_GROUPS.sub("", text).translate(_SPACES | _MINUSES | _SLASHES | _PARTS)
    text = _AROUND.sub("", _EMPHASIS.sub(r"\g<inner>", text))
    return _MIXED.sub(_improper, text)


def _improper(mixed: re.Match[str]) -> str:
    """`1 1/2` as `3/2`."""
    sign, whole, over, under = mixed.groups()
    if not _GROUPS.fullmatch(whole) or len(mixed[0]) > _LONGEST:
        return mixed[0]
    return f"{sign}{int(whole.replace(',', '')) * int(under) + int(over)}/{under}"


def _value(found: re.Match[str]) -> Fraction | None:
    whole = (found["whole"] or "0").removesuffix(",")
    if not _GROUPS.fullmatch(whole) or len(found[0]) > _LONGEST:
        return None
    value = Fraction(whole.replace(",", "") + (found["decimals"] or "") + (found["exponent"] or ""))
    if found["divisor"] is not None:
        if int(found["divisor"]) == 0:
            return None
        value /= int(found["divisor"])
    return -value if (found["sign"] or "").startswith("-") else value

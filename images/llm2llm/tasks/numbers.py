"""PURE: reads the number that an answer states, as an exact fraction.

What people and models write around a number does not change it: currency, units, percent signs, thousands separators,
emphasis, another minus sign. A text that leaves open which number is meant has no answer: no number at all, several
numbers, a calculation, or separators in odd places.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " ")
_MINUSES = dict.fromkeys(map(ord, "\u2212\u2012\u2013\ufe63\uff0d"), "-")
_SLASHES = dict.fromkeys(map(ord, "\u2044\u2215"), "/")
_FRACTION_SIGNS = {
    ord(sign): " " + unicodedata.normalize("NFKC", sign).replace("\u2044", "/")
    for sign in "\u00bd\u00bc\u00be\u2153\u2154\u2155\u2156\u2157\u2158\u2159\u215a\u215b\u215c\u215d\u215e"
}
"""Maps one half, one quarter and so on, written as one sign, to ` 1/2`, so that 1\u00bd reads as `1 1/2`."""
_CURRENCY = r"[$\u20ac\u00a3\u00a5\u20b9`\\]"
"""Currency signs, and the escapes of Markdown and TeX."""
_SURROUNDING = re.compile(rf"(?<!\d){_CURRENCY}|{_CURRENCY}(?!\d)")
"""Matches never between digits: removing a sign must not join two numbers."""
_EMPHASIS = re.compile(r"(?<![\w*])(?P<mark>\*+|_+)(?=[^\s*_])(?P<inner>[^\n]{0,200}?[^\s*_])(?P=mark)(?![\w*])")
"""Emphasis in Markdown: in pairs, not within a word, and at most 200 characters: an unlimited search takes quadratic
time."""
_NUMBER = re.compile(
    r"(?<![\w.,/^\u221a])(?P<sign>[-+]\s?)?"
    r"(?P<whole>\d[\d,]*)?(?P<decimals>\.\d+)?(?P<exponent>[eE][-+]?\d{1,3}(?!\w))?"
    r"(?:\s?/\s?(?P<divisor>\d+))?"
)
_THIN_GROUPS = re.compile("(?<=\\d)[\u00a0\u2007\u2009\u202f_](?=\\d{3}(?!\\d))")
_CONTINUES = re.compile(
    rf"(?:[.,/:_xX]|{_CURRENCY})\d|[eE][-+]?\d|\s?\^|[\u00b2\u00b3\u00b9\u2070-\u2079\u207a\u207b\u207f\u2080-\u2089]"
)
"""What follows a number that is part of something else, such as a power or a version."""
_OPERATOR = re.compile(
    r".*[*+\u00d7\u00b7\u22c5\u2219\u2217\u00f7\u00b1].*"
    r"|[^\W\d]*[\s%)\]}]*[-/%][\s(\[{]*-?"
    r"|\W*(?:[xX]|times|cdot|div|plus|minus|over|mod|divided by|multiplied by)\W*"
    r"|\s*\}\s*\{\s*"
)
"""The whole text between two numbers of a calculation, in one line; the last alternative is a TeX fraction."""
_MIXED = re.compile(r"(?<![\w.,/])(-?)(\d[\d,]*)\s+(\d+)\s?/\s?(\d+)(?![\w/])")
_GROUPS = re.compile(r"\d{1,3}(,\d{3})+|\d+")
_LONGEST = 1000
"""Maximum characters of a number: an endless one is no answer, and Python parses at most 4,300 digits."""


def number_in(text: str) -> Fraction | None:
    """Returns the one number that a text states; None if it states none, several that differ, or a calculation."""
    values: set[Fraction] = set()
    text, end = _plain(text), -1
    for match in _NUMBER.finditer(text):
        if match["whole"] is None and match["decimals"] is None:
            continue
        value = _value(match)
        if value is None or _CONTINUES.match(text, match.end()):
            return None
        if end >= 0 and _OPERATOR.fullmatch(text, end, match.end("sign") if match["sign"] else match.start()):
            return None
        values.add(value)
        end = match.end()
    return values.pop() if len(values) == 1 else None


def _plain(text: str) -> str:
    """Removes what surrounds the numbers of a text, and normalizes minus signs, spaces and fractions."""
    text = _THIN_GROUPS.sub("", text).translate(_SPACES | _MINUSES | _SLASHES | _FRACTION_SIGNS)
    text = _SURROUNDING.sub("", _EMPHASIS.sub(r"\g<inner>", text))
    return _MIXED.sub(_improper, text)


def _improper(mixed: re.Match[str]) -> str:
    """Rewrites `1 1/2` as `3/2`."""
    sign, whole, over, under = mixed.groups()
    if not _GROUPS.fullmatch(whole) or len(mixed[0]) > _LONGEST:
        return mixed[0]
    return f"{sign}{int(whole.replace(',', '')) * int(under) + int(over)}/{under}"


def _value(match: re.Match[str]) -> Fraction | None:
    whole = (match["whole"] or "0").removesuffix(",")
    if not _GROUPS.fullmatch(whole) or len(match[0]) > _LONGEST:
        return None
    value = Fraction(whole.replace(",", "") + (match["decimals"] or "") + (match["exponent"] or ""))
    if match["divisor"] is not None:
        if int(match["divisor"]) == 0:
            return None
        value /= int(match["divisor"])
    return -value if (match["sign"] or "").startswith("-") else value

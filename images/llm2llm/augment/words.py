"""Splits a row into words for the filters, in any script.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no space between words: there each character is a word, together
with its combining signs. Everywhere else a word is a run of letters, signs and digits. `regex` knows the Unicode
properties; the standard library's `re` does not, and its word characters leave out the vowel signs of Hindi and Thai.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_CHARACTER = rf"[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*"
_WORD = regex.compile(rf"{_CHARACTER}|[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]+", regex.V1)
_OTHER = rf"[[\p{{L}}\p{{Nd}}]--[\p{{Latin}}0-9{_UNSPACED}]]"
_ROUGE_WORD = regex.compile(rf"[a-z0-9]+|{_CHARACTER}|{_OTHER}(?:{_OTHER}|\p{{M}})*", regex.V1)


def field_text(fields: Mapping[str, str]) -> str:
    """Joins the fields of a row into one text, sorted by name; never the rendered prompt, whose text all rows share."""
    return "\n".join(fields[name] for name in sorted(fields))


def rouge_words(text: str) -> list[str]:
    """Splits as rouge_score does without a stemmer, `[a-z0-9]+`, plus the words of scripts that it leaves out.

    As there, Latin letters with accents divide words; a text of nothing else is split into its casefolded words.
    """
    return _ROUGE_WORD.findall(text.lower()) or casefolded_words(text)


def casefolded_words(text: str) -> list[str]:
    """Returns the words of a text, without regard to case and to how a character is encoded (NFKC)."""
    words: list[str] = _WORD.findall(_folded(text))
    return words


def join_words(words: Iterable[str]) -> str:
    """Joins words into one key."""
    return " ".join(words)


def normalize(text: str) -> str:
    """Returns the form in which exact copies are equal: case, encoding and the space between words do not count."""
    return join_words(_folded(text).split())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())

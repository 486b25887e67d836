"""Words of a row, as each filter counts them; of any script.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no space between words: there each character is one, with the signs
that belong to it. Everywhere else a word is a run of letters, signs and digits. `regex` knows the Unicode properties;
the standard library's `re` does not, and its word characters leave out the vowel signs of Hindi and Thai.
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
    """The fields of a row as one text, in the order of their names; never the rendered prompt, which rows share."""
    return "\n".join(fields[name] for name in sorted(fields))


def rouge_words(text: str) -> list[str]:
    """As rouge_score tokenizes without a stemmer, `[a-z0-9]+`, and the words of scripts that it leaves out.

    Like there, Latin letters with accents divide words; a text of nothing else is taken as it is.
    """
    return _ROUGE_WORD.findall(text.lower()) or casefolded_words(text)


def casefolded_words(text: str) -> list[str]:
    """Words without regard to case and to how a character is encoded (NFKC)."""
    words: list[str] = _WORD.findall(_folded(text))
    return words


def join_words(words: Iterable[str]) -> str:
    """Words as one key."""
    return " ".join(words)


def normalize(text: str) -> str:
    """The form in which exact copies are equal: without regard to case, encoding and the space between words."""
    return join_words(_folded(text).split())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())

"""Words of a row, as each filter counts them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_ROUGE_WORD = re.compile(r"[a-z0-9]+")
_ANY_WORD = re.compile(r"\w+")


def field_text(fields: Mapping[str, str]) -> str:
    """The fields of a row as one text, in the order of their names; never the rendered prompt, which rows share."""
    return "\n".join(fields[name] for name in sorted(fields))


def rouge_words(text: str) -> list[str]:
    """As rouge_score tokenises without a stemmer; Unicode words where a text has no [a-z0-9] at all."""
    return _ROUGE_WORD.findall(text.lower()) or _ANY_WORD.findall(text.casefold())


def casefolded_words(text: str) -> list[str]:
    """Unicode words without regard to case."""
    return _ANY_WORD.findall(text.casefold())


def joined(words: Iterable[str]) -> str:
    """Words as one key."""
    return " ".join(words)


def normalised(text: str) -> str:
    """The form in which exact copies are equal: without regard to case and to how much space lies between words."""
    return joined(text.casefold().split())

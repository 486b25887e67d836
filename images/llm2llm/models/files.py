"""PURE: which files of a model's folder hold what."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from llm2llm.models.cache import LIST

SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")
"""Tokenizer and config, and code that runs where the user trusts it."""
_WEIGHTS = ("*.safetensors",)
ALL = (*SMALL, *_WEIGHTS)
_OF_THE_BASE = (
    "config.json", "generation_config.json", "adapter_config.json", "*.index.json", LIST, "trainer_state.json",
    "readme*", "license*", "notice*", "use_policy*", "requirements*",
)  # fmt: skip
"""Small files that say something about the base model alone; a student has its own, or none."""


def has_weights(names: Iterable[str]) -> bool:
    """Whether weights that are loaded are among some files; those in pickles could run code, and are not."""
    return any(_any(name, _WEIGHTS) for name in names)


def tokenizer_files(names: Iterable[str]) -> list[str]:
    """What of a base model's files a tokenizer may want to be loaded again: a student's folder holds them, too.

    Which they are is known to the tokenizer's class alone, which may be the user's own: so all small files but those
    that are about something else.
    """
    return sorted(name for name in names if _any(name, SMALL) and not _any(name.lower(), _OF_THE_BASE))


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

"""PURE: classifies the files of a model's folder."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from llm2llm.models.cache import LIST

STUDENT = "llm2llm.json"
"""What a student's folder says about itself outside its run (results/student.py)."""
SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")
"""Tokenizer and config, and code, which runs only if the user trusts it."""
_WEIGHTS = ("*.safetensors",)
_OTHER_WEIGHTS = (
    "*pytorch_model*.bin", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data", "*.ot", "*.pt", "*.pth",
)  # fmt: skip
ALL = (*SMALL, *_WEIGHTS)
_OF_THE_BASE = (
    "config.json", "generation_config.json", "adapter_config.json", "*.index.json", LIST, "trainer_state.json",
    "readme*", "license*", "notice*", "use_policy*", "requirements*", STUDENT,
)  # fmt: skip
"""Small files that are only about the base model; a student has its own, or none."""


def has_weights(names: Iterable[str]) -> bool:
    """Returns whether some files include weights that can be loaded; pickles could run code, and are not loaded."""
    return any(_any(name, _WEIGHTS) for name in names)


def is_weights_of_any_kind(name: str) -> bool:
    """Returns whether a file holds weights, also in formats that are not loaded."""
    return _any(name.lower(), (*_WEIGHTS, *_OTHER_WEIGHTS))


def tokenizer_files(names: Iterable[str]) -> list[str]:
    """Returns the files of a base model that its tokenizer may need, which a student's folder then has, too.

    Only the tokenizer's class, which may be the user's own, knows which they are, so this returns all small files
    except those that are about something else.
    """
    return sorted(name for name in names if _any(name, SMALL) and not _any(name.lower(), _OF_THE_BASE))


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

"""Tokenizes prompts and completions in one way, for training and for every engine.

A prompt and its completion are tokenized separately and joined. So the ids of a prompt are the same in training and in
evaluation, and the prompt is masked by its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm2llm.errors import ConfigurationError
from llm2llm.models.folder import read_json

_CHUNK = 1000
_TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The date for chat templates that ask for it: the one that they use by default if they get none."""
_TOKENIZER = "spec.student.model: the tokenizer"
_FILES = ("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json", "*.spm")
"""Names of the files that tokenizers are loaded from, whatever their library."""
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
"""Files of their own that chat templates are in; else they are in the tokenizer's config."""


@dataclass(frozen=True)
class StudentTokenizer:
    """What a student needs from its tokenizer; made by `load_tokenizer`.

    Attributes:
        encode: texts to token ids, with or without the special tokens of the model.
        decode: token ids to text, without special tokens.
        chat: a prompt as the user's turn of a conversation, up to where the model answers; None without a template.
        conversation: the same for all turns of a conversation.
    """

    encode: Callable[[list[str], bool], list[list[int]]]
    decode: Callable[[list[int]], str]
    eos: int
    chat: Callable[[str], str] | None = None
    conversation: Callable[[Sequence[Mapping[str, str]]], str] | None = None

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of prompts, with the model's special tokens at the beginning and none at the end."""
        if self.chat is not None:  # such a text has the special tokens already
            return list(self._ids([self.chat(text) for text in texts], special=False))
        return [ids[:-1] if ids[-1:] == [self.eos] else ids for ids in self._ids(texts, special=True)]

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of completions as they are taught: trimmed, and ended by EOS."""
        return [[*ids, self.eos] for ids in self._ids([text.strip() for text in texts], special=False)]

    def text(self, ids: Sequence[int]) -> str:
        """Returns the text of an answer's ids, up to its EOS if it has one."""
        ids = list(ids)
        return self.decode(ids[: ids.index(self.eos)] if self.eos in ids else ids)

    def _ids(self, texts: Sequence[str], *, special: bool) -> Iterator[list[int]]:
        for start in range(0, len(texts), _CHUNK):
            yield from self.encode(list(texts[start : start + _CHUNK]), special)


def load_tokenizer(folder: Path, *, chat: bool = True, trusted: bool = False) -> StudentTokenizer:
    """Loads the tokenizer of a model's folder with transformers.

    Chat templates that ask for today's date (Llama 3.2, Granite) always get the same one; otherwise a prompt would have
    other ids on another day.

    Args:
        folder: of the base model.
        chat: whether prompts go through its chat template, if it has one (`spec.task.chatTemplate`).
        trusted: whether Python files in the folder may be run (`spec.student.trustRemoteCode`).

    Raises:
        ConfigurationError: it cannot be loaded, has no EOS token, without which no answer ends.
    """
    from transformers import AutoTokenizer

    if not trusted and not any(path for pattern in _FILES for path in folder.glob(pattern)):
        raise ConfigurationError(
            f"{_TOKENIZER} is missing: the model's folder has neither tokenizer.json nor tokenizer.model; copy the "
            "tokenizer's files from the model's page, or write them with save_pretrained()"
        )
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trusted)
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = " ".join(str(error).split())
        raise ConfigurationError(f"{_TOKENIZER} cannot be loaded: {words}") from error
    if tokenizer.eos_token_id is None:
        raise ConfigurationError(f"{_TOKENIZER} has no EOS token, so no answer would end")
    eos = int(tokenizer.eos_token_id)

    def as_conversation(turns: Sequence[Mapping[str, str]]) -> str:
        # A variable of this name takes precedence over the function of transformers, which reads the clock.
        return str(
            tokenizer.apply_chat_template(
                list(turns), add_generation_prompt=True, tokenize=False, strftime_now=_TODAY.strftime
            )
        )

    has_template = chat and tokenizer.chat_template is not None
    return StudentTokenizer(
        encode=lambda texts, special: tokenizer(texts, add_special_tokens=special)["input_ids"],
        decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)),
        eos=eos,
        chat=(lambda text: as_conversation([{"role": "user", "content": text}])) if has_template else None,
        conversation=as_conversation if has_template else None,
    )


_TRIALS = (
    "What is the capital of France, and which river flows through it? Name both in one sentence.",
    "Zähle bitte 17 Primzahlen auf; beginne mit 2, trenne sie durch Kommas: so weit du kommst.",
)
"""Two turns that no template has among its own words."""


def check_chat_template(tokens: StudentTokenizer) -> None:
    """Renders two turns by the chat template, if there is one, for Prepare.

    Raises:
        ConfigurationError: it needs more than a user's turn, or loses or changes it.
    """
    from jinja2 import TemplateError

    if tokens.chat is None:
        return
    try:
        rendered = [tokens.chat(turn) for turn in _TRIALS]
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ConfigurationError(
            f"{_TOKENIZER}'s chat template cannot render a user message ({error}): set spec.task.chatTemplate: Never"
        ) from error
    if any(turn not in text for turn, text in zip(_TRIALS, rendered, strict=True)):
        raise ConfigurationError(
            f"{_TOKENIZER}'s chat template omits or changes the user message: set spec.task.chatTemplate: Never"
        )


def has_chat_template(folder: Path, field: str) -> bool:
    """Returns whether a model's folder has a chat template, in its own file or in its tokenizer's config.

    Raises:
        ConfigurationError: see folder.read_json, which gets `field`.
    """
    if any((folder / name).exists() for name in CHAT_TEMPLATES):
        return True
    config = folder / "tokenizer_config.json"
    return config.exists() and bool(read_json(config, field).get("chat_template"))

"""One way from a prompt to token ids, for training and for every engine.

A prompt and its completion are tokenised apart and joined: so the ids of a prompt are the same where its answer is
taught and where it is asked for, and the prompt is masked by its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm2llm.errors import ConfigurationError

_CHUNK = 1000


@dataclass(frozen=True)
class Tokens:
    """A tokenizer with the few things that a student needs from it. Made by `load_tokenizer`."""

    tokenizer: Any
    eos: int
    pad: int

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts, with what the model wants at the beginning and nothing at the end."""
        return [ids[:-1] if ids[-1:] == [self.eos] else ids for ids in self._ids(texts, special=True)]

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of completions as they are taught: trimmed, ended by EOS."""
        return [[*ids, self.eos] for ids in self._ids([text.strip() for text in texts], special=False)]

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _ids(self, texts: Sequence[str], *, special: bool) -> Iterator[list[int]]:
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            encoded = self.tokenizer(chunk, add_special_tokens=special, return_attention_mask=False)["input_ids"]
            yield from ([int(token) for token in ids] for ids in encoded)


def load_tokenizer(folder: Path) -> Tokens:
    """The tokenizer of a model's folder.

    Raises:
        ConfigurationError: it cannot be loaded, or has no EOS token, without which no answer ends.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"spec.student.model: the tokenizer cannot be loaded: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ConfigurationError("spec.student.model: the tokenizer has no EOS token, so no answer would end")
    eos = int(tokenizer.eos_token_id)
    return Tokens(tokenizer, eos, eos if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id))


def context_length(folder: Path) -> int:
    """Tokens that the model of this folder can look at, prompt and answer together; 0 where its config says nothing.

    Raises:
        ConfigurationError: the config cannot be read, or is of an architecture that this image does not know.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"spec.student.model: the config cannot be loaded: {error}") from error
    return int(getattr(config, "max_position_embeddings", 0) or 0)

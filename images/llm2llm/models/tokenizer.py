"""Tokenizes prompts and completions in one way, for training and for every engine.

A prompt and its completion are tokenized separately and joined. So the ids of a prompt are the same in training and in
evaluation, and the prompt is masked by its length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm2llm.errors import ConfigurationError

_CHUNK = 1000
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length",
    "max_seq_length", "seq_len",
)  # fmt: skip
"""Names of the context length in various architectures, including those that vLLM looks for (its
ModelArchConfigConvertorBase).
"""
_UNLIMITED = 10**9
"""Tokenizers without a known limit report 10^30."""
_TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The date for chat templates that ask for it: the one that they use by default if they get none."""
_TOKENIZER = "spec.student.model: the tokenizer"


@dataclass(frozen=True)
class StudentTokenizer:
    """What a student needs from its tokenizer; made by `load_tokenizer` or `load_fast_tokenizer`.

    Attributes:
        encode: texts to token ids, with or without the special tokens of the model.
        decode: token ids to text, without special tokens.
        chat: a prompt as the user's turn of a conversation, up to where the model answers; None without a template.
    """

    encode: Callable[[list[str], bool], list[list[int]]]
    decode: Callable[[list[int]], str]
    eos: int
    chat: Callable[[str], str] | None = None

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
        ConfigurationError: it cannot be loaded, has no EOS token, without which no answer ends, or a chat template that
            cannot render one turn.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trusted)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{_TOKENIZER} cannot be loaded: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ConfigurationError(f"{_TOKENIZER} has no EOS token, so no answer would end")
    eos = int(tokenizer.eos_token_id)

    def as_turn(text: str) -> str:
        turns = [{"role": "user", "content": text}]
        # A variable of this name takes precedence over the function of transformers, which reads the clock.
        return str(
            tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False, strftime_now=_TODAY.strftime
            )
        )

    has_template = chat and tokenizer.chat_template is not None
    if has_template:
        _try_template(as_turn)
    return StudentTokenizer(
        encode=lambda texts, special: tokenizer(texts, add_special_tokens=special)["input_ids"],
        decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)),
        eos=eos,
        chat=as_turn if has_template else None,
    )


def _try_template(as_turn: Callable[[str], str]) -> None:
    """Renders a chat template once: if that program needs more than a user's turn, it should fail in Prepare."""
    from jinja2 import TemplateError

    try:
        rendered = as_turn("x")
    except (TemplateError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{_TOKENIZER}'s chat template cannot render a user message ({error}): set spec.task.chatTemplate: Never"
        ) from error
    if "x" not in rendered:
        raise ConfigurationError(
            f"{_TOKENIZER}'s chat template omits the user message: set spec.task.chatTemplate: Never"
        )


def load_fast_tokenizer(folder: Path, *, chat: bool = True, trusted: bool = False) -> StudentTokenizer:
    """Loads the same tokenizer without transformers if its files allow that: in one second instead of ten, for Prepare.

    Raises:
        ConfigurationError: as `load_tokenizer`.
    """
    if not (folder / "tokenizer.json").exists() or (chat and has_chat_template(folder)):
        return load_tokenizer(folder, chat=chat, trusted=trusted)
    config = folder / "tokenizer_config.json"
    eos_token = _json(config).get("eos_token") if config.exists() else None
    if eos_token is None:  # it may be in another file, or a default of the tokenizer's class, as with GPT-2
        return load_tokenizer(folder, chat=chat, trusted=trusted)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing more specific
        raise ConfigurationError(f"{_TOKENIZER} cannot be loaded: {error}") from error
    eos = tokenizer.token_to_id(eos_token["content"] if isinstance(eos_token, dict) else eos_token)
    if eos is None:
        return load_tokenizer(folder, chat=chat, trusted=trusted)
    return StudentTokenizer(
        encode=lambda texts, special: [
            encoded.ids for encoded in tokenizer.encode_batch(texts, add_special_tokens=special)
        ],
        decode=lambda ids: tokenizer.decode(ids, skip_special_tokens=True),
        eos=eos,
    )


def has_chat_template(folder: Path) -> bool:
    """Returns whether a model's folder has a chat template, in its own file or in its tokenizer's config."""
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    config = folder / "tokenizer_config.json"
    return config.exists() and bool(_json(config).get("chat_template"))


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model from its config; 0 if it does not say.

    Attributes:
        context: maximum number of tokens, prompt and answer together; at most what its tokenizer allows.
        heads: attention heads of a layer.
        architectures: names of the classes that load it.
        vocabulary: number of tokens that it has an embedding for.
    """

    context: int
    heads: int
    architectures: tuple[str, ...]
    vocabulary: int = 0


def check_vocabulary(tokens: StudentTokenizer, shape: ModelInfo) -> None:
    """Checks that the model knows the tokenizer's tokens: an unknown one causes an index error, or a dead GPU.

    Tokens that were added to a tokenizer are special tokens, so encoding a single word shows them.

    Raises:
        ConfigurationError: one is beyond the model's vocabulary.
    """
    highest = max([*tokens.prompts(["x"])[0], *tokens.completions(["x"])[0]])
    if 0 < shape.vocabulary <= highest:
        raise ConfigurationError(
            f"{_TOKENIZER} has a special token {highest}, but the model's vocab_size is {shape.vocabulary}: it "
            "belongs to another model, or tokens were added to it; resize the model's embeddings, or remove that "
            "token"
        )


def read_model_info(folder: Path, *, trusted: bool = False) -> ModelInfo:
    """Reads the config of the model in a folder.

    Raises:
        ConfigurationError: the config cannot be read, or its architecture is unknown to the trainer.
    """
    # This module of transformers is only a table; the public way to read it imports torch first.
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    config = _json(folder / "config.json")
    if config.get("model_type") not in CONFIG_MAPPING_NAMES and not (trusted and "auto_map" in config):
        raise ConfigurationError(
            f"spec.student.model: transformers does not know its model_type {config.get('model_type')!r}"
            + (
                ": the model comes with its own code, which runs only if spec.student.trustRemoteCode is true"
                if "auto_map" in config
                else ""
            )
        )
    tokenizer = folder / "tokenizer_config.json"
    limits = [config.get(name) for name in _CONTEXT]
    limits += [_json(tokenizer).get("model_max_length")] if tokenizer.exists() else []
    context = min((number for number in limits if isinstance(number, int) and number > 0), default=0)
    heads = config.get("num_attention_heads", config.get("n_head"))
    class_names = config.get("architectures")
    architectures = tuple(map(str, class_names)) if isinstance(class_names, list) else ()
    return ModelInfo(
        context if context < _UNLIMITED else 0,
        heads if isinstance(heads, int) else 0,
        architectures,
        known if isinstance(known := config.get("vocab_size"), int) else 0,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"spec.student.model: {path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"spec.student.model: {path.name} is not a JSON object")
    return content

"""Turns rows into token ids, each row once per run: iteration i + 1 tokenizes only what iteration i generated.

A step stores its newly tokenized rows in the run's folder as one object, named by the digest of its bytes; later steps
read all of them. A row is identified by its texts, so sets, order and iteration do not matter. The folder is only a
cache: what is missing or damaged there is tokenized again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.layout import token_folder
from llm2llm.models.tokenizer import StudentTokenizer
from llm2llm.records import Example, canonical_json, digest_of
from llm2llm.runtime.context import StepContext
from llm2llm.storage import ObjectMissing, Store
from llm2llm.tasks import Task
from llm2llm.training.data import TokenizedRow

_FORMAT = 2
"""Incremented when the same row gets other ids, or when the format changes."""
_KEY_BYTES = 16


@dataclass(frozen=True)
class TokenCache:
    """Turns rows into token ids for one model.

    Attributes:
        task: renders prompts.
        tokens: the model's tokenizer.
        folder: of the rows in the run's store that this tokenizer tokenized.
    """

    task: Task
    tokens: StudentTokenizer
    folder: str

    @classmethod
    def of(cls, spec: AugmentationRunSpec, revision: str, tokens: StudentTokenizer, task: Task) -> TokenCache:
        """Makes a cache; another model, revision, chat template or library version may give the same text other ids."""
        libraries = [version(name) for name in ("transformers", "tokenizers")]
        identity = [_FORMAT, spec.student.model.uri, revision, spec.task.chat_template, spec.student.trust_remote_code]
        return cls(task, tokens, token_folder(digest_of([*identity, *libraries])))

    def rows(self, examples: Sequence[Example], store: Store, context: StepContext) -> list[TokenizedRow]:
        """Returns prompt, completion and EOS of every example as token ids; stores the new ones for later steps."""
        texts = [(self.task.render(example.fields), example.completion) for example in examples]
        keys = [_key(*text) for text in texts]
        known = self._read_cached(store)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            tokenized = dict(zip(new, self._tokenize(list(new.values())), strict=True))
            data = _pack(tokenized)
            store.write(f"{self.folder}/{hashlib.sha256(data).hexdigest()}.npz", data)
            known |= tokenized
        context.progress({"rowsTokenized": len(new), "rowsTokenizedBefore": len(set(keys)) - len(new)})
        return [TokenizedRow(example.id, *known[key]) for example, key in zip(examples, keys, strict=True)]

    def _tokenize(self, texts: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
        prompts = self.tokens.prompts([prompt for prompt, _ in texts])
        completions = self.tokens.completions([completion for _, completion in texts])
        return [(prompt + completion, len(prompt)) for prompt, completion in zip(prompts, completions, strict=True)]

    def _read_cached(self, store: Store) -> dict[bytes, tuple[list[int], int]]:
        """Returns row key to ids and the number of prompt ids among them."""
        known: dict[bytes, tuple[list[int], int]] = {}
        for key in store.list(f"{self.folder}/"):
            try:
                data = store.read(key)
            except ObjectMissing:
                continue  # removed in between
            if key == f"{self.folder}/{hashlib.sha256(data).hexdigest()}.npz":
                known |= _unpack(data)
        return known


def _key(prompt: str, completion: str) -> bytes:
    return hashlib.sha256(canonical_json([prompt, completion]).encode()).digest()[:_KEY_BYTES]


def _pack(rows: Mapping[bytes, tuple[list[int], int]]) -> bytes:
    """Encodes rows as NumPy's npz: `keys` (rows x 16 bytes), `prompts` and `lengths` (one number a row), `ids`
    concatenated.
    """
    file = io.BytesIO()
    np.savez_compressed(
        file,
        keys=np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), _KEY_BYTES),
        prompts=np.array([prompt for _, prompt in rows.values()], dtype=np.int32),
        lengths=np.array([len(ids) for ids, _ in rows.values()], dtype=np.int32),
        ids=np.array([token for ids, _ in rows.values() for token in ids], dtype=np.int32),
    )
    return file.getvalue()


def _unpack(data: bytes) -> dict[bytes, tuple[list[int], int]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        keys, prompts, lengths, ids = (arrays[name] for name in ("keys", "prompts", "lengths", "ids"))
    ends = np.cumsum(lengths)
    return {
        key.tobytes(): (ids[end - length : end].tolist(), int(prompt))
        for key, prompt, length, end in zip(keys, prompts, lengths, ends, strict=True)
    }

"""Puts tokenized rows together into micro-batches, with or without padding.

A row is its prompt and its completion joined; the prompt is masked by its length, so only the completion is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

IGNORED = -100
"""Label of a position that is not learned (the convention of torch's cross entropy)."""


@dataclass(frozen=True)
class TokenizedRow:
    """One training row: prompt, completion and EOS in `ids`, of which the first `prompt` are not learned."""

    id: str
    ids: list[int]
    prompt: int


def pad(rows: Sequence[TokenizedRow]) -> dict[str, list[list[int]]]:
    """Pads a micro-batch on the right to its longest row: input_ids, attention_mask and labels, one list per row.

    Each row is filled up with its own last token, EOS, which the model has a vector for: a padding token may have been
    added to the tokenizer only. So labels are masked by position and never by token. Without rows, returns a
    micro-batch from which nothing is learned: a rank that has no row left computes along with the others.
    """
    if not rows:
        return {"input_ids": [[0] * 2], "attention_mask": [[1] * 2], "labels": [[IGNORED] * 2]}
    width = max(len(row.ids) for row in rows)
    return {
        "input_ids": [row.ids + row.ids[-1:] * (width - len(row.ids)) for row in rows],
        "attention_mask": [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows],
        "labels": [[IGNORED] * row.prompt + row.ids[row.prompt :] + [IGNORED] * (width - len(row.ids)) for row in rows],
    }


def pack(rows: Sequence[TokenizedRow]) -> dict[str, list[list[int]]]:
    """Concatenates the rows of a micro-batch without padding: input_ids, position_ids and labels, one list each.

    Positions restart with each row, and only that isolates rows (packing.py): an attention mask would undo it. No row's
    first token is learned, since a prompt has at least one: it would be predicted from the row before.
    """
    if not rows:
        return {"input_ids": [[0] * 2], "position_ids": [[0, 1]], "labels": [[IGNORED] * 2]}
    return {
        "input_ids": [[token for row in rows for token in row.ids]],
        "position_ids": [[place for row in rows for place in range(len(row.ids))]],
        "labels": [
            [label for row in rows for label in [*[IGNORED] * max(row.prompt, 1), *row.ids[max(row.prompt, 1) :]]]
        ],
    }


Collation = Callable[[Sequence[TokenizedRow]], dict[str, list[list[int]]]]
"""`pad` or `pack`: turns rows into the inputs of a model."""


def keep_learned(batch: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    """Returns a micro-batch that asks the model only for logits that something is learned from.

    `logits_to_keep`, an argument of transformers' causal models, lists the positions whose next token any of the rows
    learns; labels of the other positions are left out, so that column n + 1 of `labels` belongs to the n-th of them. Of
    a prompt nothing is learned, and its logits would be most of the work where the vocabulary is large.
    """
    labels = batch["labels"]
    width = len(labels[0])
    kept = [place for place in range(width - 1) if any(row[place + 1] != IGNORED for row in labels)] or [0]
    cut = [[IGNORED, *(row[place + 1] for place in kept)] for row in labels]
    return {**batch, "labels": cut, "logits_to_keep": kept}

"""A student without weights: its tokens are letters, and it answers with the first word of its prompt, in capitals."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm2llm.engines import SamplingSettings
from llm2llm.models.tokenizer import StudentTokenizer
from llm2llm.results.student import StudentRecord
from llm2llm.serving.predictor import Predictor

EOS = 2


class FirstWord:
    """An engine; sampled, it answers with letters of the prompt, by the seed."""

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], draws: SamplingSettings | None = None
    ) -> Iterator[Mapping[int, list[int]]]:
        yield {}  # as vLLM does while it has nothing yet
        for row, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            text = "".join(chr(token) for token in prompt if token > EOS)
            answer = text.split()[0].upper() if text.split() else ""
            if draws:
                answer = "".join(random.Random(draws.seeds[row]).choices(text, k=3))
            yield {row: [*map(ord, answer), EOS][:limit]}


def letters(*, chat: bool = False) -> StudentTokenizer:
    def conversation(turns: Sequence[Mapping[str, str]]) -> str:
        if turns[-1]["role"] != "user":
            raise ValueError("the last turn must be the user's")
        return " ".join(turn["content"] for turn in turns) + f" <{turns[-1]['role']}>"

    return StudentTokenizer(
        encode=lambda texts, special: [[1] * special + [ord(letter) for letter in text] for text in texts],
        decode=lambda ids: "".join(chr(token) for token in ids if token > EOS),
        eos=EOS,
        chat=(lambda text: conversation([{"role": "user", "content": text}])) if chat else None,
        conversation=conversation if chat else None,
    )


def letter_student(*, chat: bool = False, limit: int = 8, context: int = 100, **task: Any) -> Predictor:
    """The student of a run `words`: its template writes a row's `text`, and its labels are YES and NO."""
    record = StudentRecord(
        run="words", namespace="team-a", iteration=1, digest="sha256:d", part="model", model_uri="hf://a/b",
        task={"promptTemplate": "{{ text }} =>", "grader": {"type": "Choice"}, "labels": ["YES", "NO"], **task},
    )  # fmt: skip
    graded = record.graded_task()
    return Predictor(record, graded, FirstWord(), letters(chat=chat), limit, context, {"text": "yes or no"})

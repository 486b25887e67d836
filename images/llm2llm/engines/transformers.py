"""Generation by transformers: no GPU needed, and the reference that vLLM's verdicts are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import GenerationConfig

from llm2llm.engines.base import Draws, Student, computes_in_bf16
from llm2llm.engines.sampling import SeededDraws
from llm2llm.weights import load_weights

_BATCH_TOKENS = 16384
_BATCH_ROWS = 512


class TransformersEngine:
    """A student on the GPU, or on the CPU where there is none; an adapter stays apart from its base."""

    def __init__(
        self,
        student: Student,
        *,
        precision: Literal["Auto", "fp32", "bf16"],
        gpus: int,  # noqa: ARG002 - one holds the model
    ) -> None:
        dtype = torch.bfloat16 if computes_in_bf16(precision) else torch.float32
        model = load_weights(student.model, dtype, student.quantization, trusted=student.trusted)
        # What the base's own generation config says about sampling or penalties must not reach a greedy answer.
        model.generation_config = _greedy(student.eos, student.pad)
        if student.adapter:
            model = PeftModel.from_pretrained(model, str(student.adapter))
        self._model: Any = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._eos = student.eos
        self._pad = student.pad

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], draws: Draws | None = None
    ) -> Iterator[Mapping[int, list[int]]]:
        """See Engine. Prompts of like length share a batch; padding is on the left and masked."""
        for batch in _batches([len(prompt) for prompt in prompts], limits):
            of_batch = Draws(draws.temperature, [draws.seeds[index] for index in batch]) if draws else None
            answers = self._continue([prompts[index] for index in batch], limits[batch[0]], of_batch)
            yield dict(zip(batch, answers, strict=True))

    @torch.inference_mode()
    def _continue(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, draws: Draws | None) -> list[list[int]]:
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[self._pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        output = self._model.generate(
            input_ids=ids.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            generation_config=_greedy(self._eos, self._pad, max_new_tokens=max_new_tokens),
            logits_processor=[SeededDraws(draws.seeds, draws.temperature, width, max_new_tokens)] if draws else [],
        )
        rows = output[:, width:].tolist()
        return [row[: row.index(self._eos) + 1] if self._eos in row else row for row in rows]


def _greedy(eos: int, pad: int, **more: int) -> Any:
    config: Any = GenerationConfig
    return config(do_sample=False, num_beams=1, repetition_penalty=1.0, eos_token_id=eos, pad_token_id=pad, **more)


def _batches(lengths: Sequence[int], limits: Sequence[int]) -> Iterator[list[int]]:
    """Indices of prompts in batches of like length, the longest first, so that memory runs out at once or never.

    The answers of a batch are of one limit: those that the context cuts short would leave it with a longer one.
    """
    batch: list[int] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        width = max(width, lengths[index] + limits[index])
        full = len(batch) == _BATCH_ROWS or width * (len(batch) + 1) > _BATCH_TOKENS
        if batch and (full or limits[index] != limits[batch[0]]):
            yield batch
            batch, width = [], lengths[index] + limits[index]
        batch.append(index)
    if batch:
        yield batch

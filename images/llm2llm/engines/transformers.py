"""Generates with transformers: it needs no GPU, and is the reference that vLLM's verdicts are compared with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import GenerationConfig

from llm2llm.engines.base import SamplingSettings, Student, computes_in_bf16
from llm2llm.engines.sampling import SeededSampling
from llm2llm.errors import GpuOutOfMemory
from llm2llm.models.weights import load_weights

_BATCH_TOKENS = {"cuda": 16384, "cpu": 8192}
"""Tokens of a batch. A CPU's caches are smaller: twice as many tokens took 1.1 times as long on one with 2 cores."""
_BATCH_ROWS = 512


class TransformersEngine:
    """A student on the GPU, or on the CPU if there is no GPU.

    In fp32 an adapter is merged into its base, which leaves one product instead of three. In bf16 and with a quantized
    base it stays separate, as in training and in vLLM: merged weights would be rounded to their precision.

    Raises:
        GpuOutOfMemory: the GPU's memory does not hold its weights.
    """

    def __init__(
        self,
        student: Student,
        *,
        precision: Literal["Auto", "fp32", "bf16"],
        gpus: int,  # noqa: ARG002 - one GPU holds the model
        context: int,  # noqa: ARG002 - the cache grows with the prompts
    ) -> None:
        dtype = torch.bfloat16 if computes_in_bf16(precision) else torch.float32
        try:
            self._model = _load(student, dtype)
        except torch.cuda.OutOfMemoryError as error:
            raise _out_of_memory("the student's weights", "", error) from error
        self._eos = student.eos
        self._batch_tokens = _BATCH_TOKENS[self._model.device.type]

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], draws: SamplingSettings | None = None
    ) -> Iterator[Mapping[int, list[int]]]:
        """Generates as Engine says. Prompts of similar length share a batch; padding is on the left and masked.

        A batch that does not fit into the GPU's memory is halved, and so are the batches after it.

        Raises:
            GpuOutOfMemory: the GPU's memory does not hold one row.
        """
        # The longest prompts come first, so that memory runs out immediately or never.
        left = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
        while left:
            batch = _next_batch([(row, len(prompts[row]), limits[row]) for row in left], self._batch_tokens)
            batch_draws = SamplingSettings(draws.temperature, [draws.seeds[row] for row in batch]) if draws else None
            try:
                answers = self._generate_batch([prompts[row] for row in batch], limits[batch[0]], batch_draws)
            except torch.cuda.OutOfMemoryError as error:
                longest, limit = len(prompts[batch[0]]), limits[batch[0]]
                if len(batch) == 1:
                    what = f"one prompt of {longest} tokens with an answer of {limit}"
                    raise _out_of_memory(what, ", or set a smaller sampling.maxTokens", error) from error
                self._batch_tokens = len(batch) * (longest + limit) // 2
            else:
                left = left[len(batch) :]
                yield dict(zip(batch, answers, strict=True))
                continue
            torch.cuda.empty_cache()  # not in the handler: its traceback keeps the memory alive

    @torch.inference_mode()
    def _generate_batch(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, draws: SamplingSettings | None
    ) -> list[list[int]]:
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[self._eos] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        output = self._model.generate(
            input_ids=ids.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            generation_config=_greedy_config(self._eos, max_new_tokens=max_new_tokens),
            logits_processor=[SeededSampling(draws.seeds, draws.temperature, width, max_new_tokens)] if draws else [],
        )
        rows = output[:, width:].tolist()
        return [row[: row.index(self._eos) + 1] if self._eos in row else row for row in rows]


def _greedy_config(eos: int, **more: int) -> Any:
    config: Any = GenerationConfig
    return config(do_sample=False, num_beams=1, repetition_penalty=1.0, eos_token_id=eos, pad_token_id=eos, **more)


def _next_batch(left: Sequence[tuple[int, int, int]], tokens: int) -> list[int]:
    """Returns the rows of the next batch; `left` has (row, tokens of its prompt, limit of its answer), longest first.

    All answers of a batch have the same limit: rows whose limit the context reduces would exceed it with a longer one.
    """
    _, longest, limit = left[0]
    max_rows = max(1, min(_BATCH_ROWS, tokens // (longest + limit)))
    return [row for row, _, row_limit in itertools.takewhile(lambda row: row[2] == limit, left[:max_rows])]


def _load(student: Student, dtype: torch.dtype) -> Any:
    model = load_weights(student.model, dtype, student.quantization, trusted=student.trusted)
    # Sampling or penalties in the base's own generation config must not affect a greedy answer.
    model.generation_config = _greedy_config(student.eos)
    _give_the_head_contiguous_states(model)
    if student.adapter:
        adapted: Any = PeftModel.from_pretrained(model, str(student.adapter))
        model = adapted.merge_and_unload() if (dtype, student.quantization) == (torch.float32, "none") else adapted
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _give_the_head_contiguous_states(model: Any) -> None:
    """Makes the output head copy its input, the last position's hidden states, before the product.

    Of a batch of prompts they are a slice with gaps. In fp32 the product then takes seven times as long (0.57 s against
    0.08 s for 40 rows and the head of SmolLM2-135M); in bf16 it has taken 56 MB a row on one CPU, none on another.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))


def _out_of_memory(what: str, otherwise: str, error: Exception) -> GpuOutOfMemory:
    return GpuOutOfMemory(
        f"the GPU does not have enough memory for {what} ({error}): request a larger GPU in spec.evaluate{otherwise}",
        micro_batch=1,  # nothing smaller is left to try
    )

"""Generates with vLLM, with an adapter as a LoRARequest; the only module that imports vLLM into this process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from llm2llm.engines.base import SamplingSettings, Student, computes_in_bf16, vllm_rank
from llm2llm.errors import ConfigurationError, GpuOutOfMemory

_PASSES = 32
"""Forward passes between two yields: a few seconds at most on a GPU, and not a line of progress for every token."""

_NF4: dict[str, Any] = {"quantization": "bitsandbytes"}
"""vLLM quantizes a base with unquantized files to nf4 with double quantization (its BitsAndBytesModelLoader)."""


class VllmEngine:
    """vLLM in this process; on a CPU without graph capture, whose warm-up costs more than it saves there.

    Raises:
        ConfigurationError: there is no device that this build of vLLM supports, or it does not support the
            quantization, model, adapter or context.
        GpuOutOfMemory: weights and cache do not fit.
    """

    def __init__(
        self,
        student: Student,
        *,
        precision: Literal["Auto", "fp32", "bf16"],
        gpus: int,
        context: int,
    ) -> None:
        if current_platform.is_unspecified():
            raise ConfigurationError(
                "spec.evaluate.engine is vLLM, but vLLM finds no device that it supports: request a GPU in "
                "spec.evaluate.resources, or set engine: Transformers"
            )
        bf16 = computes_in_bf16(precision)
        if student.quantization == "nf4":
            _check_quantization(bf16)
        if gpus == 1:
            # A separate engine process for the one GPU would report every failure with the same message.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        with _translate_failures():
            self._llm: Any = LLM(
                model=str(student.model),
                dtype="bfloat16" if bf16 else "float32",
                # Not the model's whole context, for which vLLM would require cache: 16 GiB of it for 131,072 tokens.
                max_model_len=context,
                **(_NF4 if student.quantization == "nf4" else {}),
                **(_adapter_settings(student.adapter) if student.adapter else {}),
                tensor_parallel_size=gpus,
                trust_remote_code=student.trusted,
                enforce_eager=not torch.cuda.is_available(),
                # The base's own generation config may contain sampling settings and penalties; only ours apply.
                generation_config="vllm",
                disable_log_stats=True,
                seed=0,
            )
        self._adapter = LoRARequest("student", 1, str(student.adapter)) if student.adapter else None
        self._eos = student.eos

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], draws: SamplingSettings | None = None
    ) -> Iterator[Mapping[int, list[int]]]:
        """Generates as Engine says. All prompts are queued together, which keeps the batch full until the last."""
        sampling = [
            SamplingParams(
                temperature=draws.temperature if draws else 0.0,
                seed=draws.seeds[row] if draws else None,
                repetition_penalty=1.0,
                max_tokens=limits[row],
                stop_token_ids=[self._eos],
                ignore_eos=False,
                detokenize=False,
            )
            for row in range(len(prompts))
        ]
        queued = self._llm.enqueue(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            sampling,
            lora_request=self._adapter,
            use_tqdm=False,
        )
        # The engine adds "-" and a random part to a request's number, and returns outputs under the number alone.
        rows = {request.partition("-")[0]: row for row, request in enumerate(queued)}
        try:
            while rows:
                yield self._generate_some(rows)
        finally:
            self._llm.llm_engine.abort_request([queued[row] for row in rows.values()], internal=True)

    def _generate_some(self, rows: dict[str, int]) -> dict[int, list[int]]:
        """Runs some forward passes; takes finished requests out of `rows` (request to row), returns their answers."""
        answers: dict[int, list[int]] = {}
        for _ in range(_PASSES):
            for output in self._llm.llm_engine.step() if rows else ():
                if output.finished:
                    answers[rows.pop(output.request_id)] = list(output.outputs[0].token_ids)
        return answers


@contextmanager
def _translate_failures() -> Iterator[None]:
    """Turns vLLM's refusals into lasting errors; a retry helps only if another process holds the memory now."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise _out_of_memory(error) from error
    except ValueError as error:  # its checks of settings, pydantic's among them
        if "cache" in str(error) and "memory" in str(error):
            raise _out_of_memory(error) from error
        if "Free memory on device" in str(error):
            raise
        raise ConfigurationError(
            f"vLLM cannot serve this student: {error}: set spec.evaluate.engine: Transformers"
        ) from error


def _out_of_memory(error: Exception) -> GpuOutOfMemory:
    return GpuOutOfMemory(
        f"the GPU does not have enough memory for the student and its KV cache in vLLM ({error}): request a larger "
        "GPU in spec.evaluate, or several with tensorParallelSize",
        micro_batch=1,  # nothing smaller is left to try
    )


def _adapter_settings(adapter: Path) -> dict[str, Any]:
    rank = int(json.loads((adapter / "adapter_config.json").read_text())["r"])
    return {
        "enable_lora": True,
        "max_lora_rank": vllm_rank(rank),
        "max_loras": 1,
    }


def _check_quantization(bf16: bool) -> None:
    """Checks nf4: since vLLM 0.28 bitsandbytes is a plugin (vllm-project/vllm#43529), for 16-bit weights only."""
    if not bf16:
        raise ConfigurationError(
            "spec.evaluate.precision: vLLM evaluates QLoRA students only in bf16, on a device that supports it: set "
            "bf16, or engine: Transformers"
        )
    if find_spec("vllm_bnb_plugin") is None:
        raise ConfigurationError(
            "spec.train.method is QLoRA, but this image does not contain vllm-bnb-plugin: use the evaluator image of "
            "this release, or set evaluate.engine: Transformers"
        )

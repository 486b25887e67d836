"""Generation by vLLM, the adapter given as a LoRARequest; the only module that knows vLLM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from llm2llm.engines.base import Draws, computes_in_bf16
from llm2llm.errors import ConfigurationError

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM has kernels for; an adapter of another rank runs under the next larger one."""


class VllmEngine:
    """vLLM in this process; on a CPU without graph capture, whose warm-up costs more than it gives there.

    Raises:
        ConfigurationError: there is no device that this build of vLLM runs on.
    """

    def __init__(
        self,
        base: Path,
        adapter: Path,
        *,
        eos: int,
        pad: int,  # noqa: ARG002 - vLLM pads nothing
        precision: Literal["Auto", "fp32", "bf16"],
        gpus: int,
    ) -> None:
        if current_platform.is_unspecified():
            raise ConfigurationError(
                "spec.evaluate.engine is vLLM, and vLLM finds no device that it runs on: ask for a GPU in "
                "spec.evaluate.resources, or set engine: Transformers"
            )
        cuda = torch.cuda.is_available()
        rank = int(json.loads((adapter / "adapter_config.json").read_text())["r"])
        self._llm: Any = LLM(
            model=str(base),
            tokenizer=str(adapter),
            dtype="bfloat16" if computes_in_bf16(precision) else "float32",
            enable_lora=True,
            max_lora_rank=next(supported for supported in _RANKS if supported >= rank),
            max_loras=1,
            tensor_parallel_size=gpus,
            enforce_eager=not cuda,
            # The base's own generation config may hold sampling settings and penalties; ours is the only one.
            generation_config="vllm",
            disable_log_stats=True,
            seed=0,
        )
        self._adapter = LoRARequest("student", 1, str(adapter))
        self._eos = eos

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, draws: Draws | None = None
    ) -> list[list[int]]:
        """See Engine."""
        sampling = [
            SamplingParams(
                temperature=draws.temperature if draws else 0.0,
                seed=draws.seeds[row] if draws else None,
                repetition_penalty=1.0,
                max_tokens=max_new_tokens,
                stop_token_ids=[self._eos],
                ignore_eos=False,
                detokenize=False,
            )
            for row in range(len(prompts))
        ]
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            sampling,
            lora_request=self._adapter,
            use_tqdm=False,
        )
        return [list(output.outputs[0].token_ids) for output in outputs]

"""Defines what evaluation needs from an engine that runs a student: token ids in, token ids out, greedy by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from llm2llm.models.device import has_bf16


@dataclass(frozen=True)
class SamplingSettings:
    """How answers are sampled when decoding is not greedy: a temperature above 0, and one seed per prompt."""

    temperature: float
    seeds: Sequence[int]


class Engine(Protocol):
    """A loaded student that is ready to generate."""

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], draws: SamplingSettings | None = None
    ) -> Iterator[Mapping[int, list[int]]]:
        """Generates the most likely continuation of each prompt, or one sampled by its seed, and yields them as they
        come.

        An answer ends with EOS, which is part of it, or is cut at the prompt's own limit; prompt and limit together
        must fit into the model's context. Equal seeds give equal answers, whatever else is answered with them, on the
        same engine, version and kind of device.

        Yields:
            The next answers by the index of their prompts; an empty mapping if there is none yet, so that the caller
            gets control now and then. Closing the iterator ends the work.
        """


@dataclass(frozen=True)
class Student:
    """The location of a student's files, and what an engine needs to know about them.

    Attributes:
        model: folder of its base model, or of the whole student if all weights were trained.
        adapter: folder of its adapter; None for a whole student.
        quantization: of the base model.
        eos: token that ends an answer, and that pads the prompts of a batch.
        trusted: whether Python files beside the model may be run.
    """

    model: Path
    adapter: Path | None
    quantization: Literal["none", "nf4"]
    eos: int
    trusted: bool = False


def computes_in_bf16(precision: Literal["Auto", "fp32", "bf16"]) -> bool:
    """Returns whether an engine computes in bf16: Auto does if the device supports it."""
    return precision == "bf16" or (precision == "Auto" and has_bf16())


_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def vllm_rank(rank: int) -> int:
    """Returns the maximum rank to start vLLM with for an adapter: the next one that it has kernels for."""
    return next(supported for supported in _VLLM_RANKS if supported >= rank)

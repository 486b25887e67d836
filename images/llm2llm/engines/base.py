"""What evaluation needs from whatever runs a student: token ids in, token ids out, greedily unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from llm2llm.models.device import has_bf16


@dataclass(frozen=True)
class SamplingSettings:
    """How answers are drawn where they are not the most likely ones: a temperature above 0, and a seed a prompt."""

    temperature: float
    seeds: Sequence[int]


class Engine(Protocol):
    """A student that is loaded and ready."""

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], draws: SamplingSettings | None = None
    ) -> Iterator[Mapping[int, list[int]]]:
        """The most likely continuation of each prompt, or one drawn by its seed, told as they come.

        An answer ends with EOS, which is part of it, or is cut at the prompt's own limit, with which it must not leave
        the model's context. Equal seeds give equal answers, whatever else is answered with them, on the same engine,
        version and kind of device.

        Yields:
            The next answers, each by the index of its prompt; none where there is none yet, so that whoever waits gets
            to look up. Closing the iterator ends the work.
        """


@dataclass(frozen=True)
class Student:
    """Where a student's files are.

    Attributes:
        model: its base model, or the whole student where all weights were trained.
        adapter: None for a whole student.
        quantization: of the base.
        eos: token that ends an answer, and that prompts of a batch are filled up with.
        trusted: whether Python files beside the model may be run.
    """

    model: Path
    adapter: Path | None
    quantization: Literal["none", "nf4"]
    eos: int
    trusted: bool = False


def computes_in_bf16(precision: Literal["Auto", "fp32", "bf16"]) -> bool:
    """Whether an engine computes in bf16: Auto does where the device has it."""
    return precision == "bf16" or (precision == "Auto" and has_bf16())

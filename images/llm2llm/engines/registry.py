"""Finds an engine by its name in the spec, and imports it only when it is requested."""

from __future__ import annotations

from typing import Literal, Protocol

from llm2llm.engines.base import Engine, Student
from llm2llm.errors import ConfigurationError
from llm2llm.models.imports import without_torch_compile


class LoadEngine(Protocol):
    """Loads a student; an engine ignores the arguments that it does not need.

    `context` is the maximum number of tokens of a prompt with its answer.
    """

    def __call__(
        self, student: Student, *, precision: Literal["Auto", "fp32", "bf16"], gpus: int, context: int
    ) -> Engine: ...


def engine_named(name: Literal["vLLM", "Transformers"]) -> LoadEngine:
    """Returns the engine of this name, imported (which takes seconds) but without a student.

    Raises:
        ConfigurationError: this image does not contain the engine.
    """
    if name == "Transformers":
        with without_torch_compile():
            from llm2llm.engines.transformers import TransformersEngine

        return TransformersEngine
    try:
        from llm2llm.engines.vllm import VllmEngine
    except ImportError as error:
        raise ConfigurationError(
            f"spec.evaluate.engine is vLLM, but this image cannot import it ({error}): use the evaluator image, or "
            "set engine: Transformers"
        ) from error
    return VllmEngine

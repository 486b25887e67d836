"""The engines by their names in the spec, each imported when it is asked for."""

from __future__ import annotations

from typing import Literal, Protocol

from llm2llm.engines.base import Engine, Student
from llm2llm.errors import ConfigurationError
from llm2llm.models.imports import without_torch_compile


class LoadEngine(Protocol):
    """Loads a student; what an engine does not need it takes and leaves.

    `context` is what the longest prompt takes with its answer, in tokens.
    """

    def __call__(
        self, student: Student, *, precision: Literal["Auto", "fp32", "bf16"], gpus: int, context: int
    ) -> Engine: ...


def engine_named(name: Literal["vLLM", "Transformers"]) -> LoadEngine:
    """The engine of this name, imported (seconds) and not yet loaded.

    Raises:
        ConfigurationError: this image does not hold the engine.
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

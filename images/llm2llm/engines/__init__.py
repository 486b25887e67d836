"""Text generation by a student: vLLM where there is a GPU, transformers everywhere, behind one small protocol."""

from llm2llm.engines.base import Draws, Engine, Student, engine_named

__all__ = ["Draws", "Engine", "Student", "engine_named"]

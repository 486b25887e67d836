"""Generates text with a student: vLLM if there is a GPU, transformers everywhere, behind one small protocol."""

from llm2llm.engines.base import Engine, SamplingSettings, Student
from llm2llm.engines.registry import engine_named

__all__ = ["Engine", "SamplingSettings", "Student", "engine_named"]

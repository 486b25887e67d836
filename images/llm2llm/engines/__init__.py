"""Text generation by a student: vLLM where there is a GPU, transformers everywhere, behind one small protocol."""

from llm2llm.engines.base import Engine, load_engine

__all__ = ["Engine", "load_engine"]

"""Places for artifacts: a local folder and S3, behind one small protocol."""

from llm2llm.storage.base import ObjectMissing, Store

__all__ = ["ObjectMissing", "Store"]

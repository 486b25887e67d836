"""Stores artifacts in a local folder or in S3, behind one small protocol."""

from llm2llm.storage.base import ObjectMissing, Store
from llm2llm.storage.local import LocalStore
from llm2llm.storage.uri import local_path, open_store, read_source

__all__ = ["LocalStore", "ObjectMissing", "Store", "local_path", "open_store", "read_source"]

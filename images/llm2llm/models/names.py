"""PURE: names a base model as transformers and peft do, in what a training writes for others to load."""

from __future__ import annotations

from llm2llm.storage.uri import local_path


def loadable_name(uri: str) -> str:
    """Returns what `from_pretrained` takes for the model of a URI, if it can load that: an id of the Hub, or a path.

    It can load neither a bucket's model nor a claim's, which is mounted in pods only. Those keep their URI: a shorter
    name could be that of another model on the Hub, which would be loaded without a word, while the URI is refused by
    an error that quotes it.
    """
    if uri.startswith("hf://"):
        return uri.removeprefix("hf://")
    if uri.startswith("file://"):
        return str(local_path(uri))
    return uri

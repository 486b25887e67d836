"""Says which libraries a command needs, and what to install where one is missing.

The package alone reads and writes manifests; what a laptop needs to run one is one extra, and what the
commands for runs on a cluster need is another.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec

INSTALL = 'pip install "llm2llm-operator[{}]"'
LOCAL, CLUSTER = "local", "cluster"
OF_A_CLUSTER = ("kubernetes", "llm2llm_cluster")
FOR_A_RUN = (
    *("torch", "transformers", "peft", "accelerate", "safetensors", "openai", "rapidfuzz", "regex", "huggingface_hub"),
    *("jinja2", "boto3", "matplotlib", "rich"),
)
"""Modules that `llm2llm run` imports before or during its steps."""


def missing_modules(names: Collection[str] = FOR_A_RUN) -> list[str]:
    """Returns those of some modules that are not installed, without importing any."""
    return [name for name in names if find_spec(name) is None]


def describe_missing(names: Collection[str]) -> str:
    """Says what is missing, and what to install."""
    extra = CLUSTER if set(names) <= set(OF_A_CLUSTER) else LOCAL
    verb = "is" if len(names) == 1 else "are"
    return f"this needs {', '.join(names)}, which {verb} not installed: {INSTALL.format(extra)}"

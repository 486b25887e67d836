"""Retries without their pauses, for tests of what comes of the last one."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

OF_S3 = ("botocore.endpoint", "llm2llm.storage.s3")
OF_THE_HUB = ("huggingface_hub.utils._http",)


def leave_out(monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...]) -> None:
    """Lets `time.sleep` return at once in these modules, and nowhere else."""
    hasty = SimpleNamespace(**vars(time) | {"sleep": lambda _: None})
    for module in modules:
        monkeypatch.setattr(f"{module}.time", hasty)

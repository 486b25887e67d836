from __future__ import annotations

import logging
import os

import pytest

from llm2llm.models.imports import without_torch_compile

VARIABLE = "TORCHDYNAMO_DISABLE"


@pytest.mark.parametrize("before", [None, "0"], ids=["not set", "set by the user"])
@pytest.mark.parametrize("fails", [False, True], ids=["imported", "an import that fails"])
def test_the_compiler_is_off_during_the_imports_and_as_it_was_after_them(
    monkeypatch: pytest.MonkeyPatch, before: str | None, fails: bool
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    logger = logging.getLogger("bitsandbytes")
    monkeypatch.setattr(logger, "level", logging.INFO)
    during: list[object] = []

    def load() -> None:
        with without_torch_compile():
            during.extend([os.environ[VARIABLE], logger.level])
            if fails:
                raise ImportError("no peft")

    if fails:
        with pytest.raises(ImportError):
            load()
    else:
        load()
    assert during == ["1", logging.ERROR]
    assert (os.environ.get(VARIABLE), logger.level) == (before, logging.INFO)

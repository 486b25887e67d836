"""A step starts without what it never uses: bitsandbytes, too, would load a compiler."""

from __future__ import annotations

import pytest
from tests.support.imports import loaded


@pytest.mark.parametrize(
    "code",
    [
        "from llm2llm.engines import engine_named; engine_named('Transformers')",
        "from llm2llm.models.imports import without_torch_compile\nwith without_torch_compile(): import llm2llm.training.run",
    ],
    ids=["asked", "trained"],
)
def test_a_student_is_trained_and_asked_without_loading_a_compiler(code: str):
    assert loaded("bitsandbytes torch._inductor.compile_fx", code) == ["bitsandbytes"]

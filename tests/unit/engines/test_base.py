from __future__ import annotations

from typing import Literal

import pytest

from llm2llm.engines import base


@pytest.mark.parametrize(
    ("precision", "there", "computes"),
    [
        pytest.param("Auto", True, True, id="Auto on a device that has it"),
        pytest.param("Auto", False, False, id="Auto on one that has not"),
        pytest.param("bf16", False, True, id="bf16 wherever it is asked for"),
        pytest.param("fp32", True, False, id="fp32 wherever it is asked for"),
    ],
)
def test_an_engine_computes_in_bf16_where_it_is_asked_to_or_the_device_has_it(
    precision: Literal["Auto", "fp32", "bf16"], there: bool, computes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "has_bf16", lambda: there)
    assert base.computes_in_bf16(precision) is computes

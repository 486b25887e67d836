import pytest
import torch

from llm2llm.engines.base import computes_in_bf16
from llm2llm.models.device import has_bf16
from llm2llm.training.model import resolve_precision


@pytest.mark.parametrize(
    ("capability", "there"),
    [
        pytest.param((7, 0), False, id="V100"),
        pytest.param((7, 5), False, id="T4"),
        pytest.param((8, 0), True, id="A100"),
        pytest.param((9, 0), True, id="H100"),
    ],
)
def test_auto_computes_in_bf16_only_where_the_gpu_has_it(
    capability: tuple[int, int], there: bool, monkeypatch: pytest.MonkeyPatch
):
    class Properties:
        major, minor = capability

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    monkeypatch.setattr(torch.version, "cuda", "12.8")

    assert has_bf16() is there
    assert computes_in_bf16("Auto") is there
    assert resolve_precision("Auto") == ("bf16" if there else "fp32")
    assert computes_in_bf16("bf16")
    assert not computes_in_bf16("fp32")

from collections.abc import Iterator

import pytest
import torch

from llm2llm.models import device
from llm2llm.models.device import has_bf16, limit_threads


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


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("cpus", "processes", "limit"), [(4, 1, 4), (4, 3, 1), (4, 8, 1), (9, 1, 6)])
def test_threads_share_the_cpus_that_the_process_may_use(
    cpus: int, processes: int, limit: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(device, "usable_cpus", lambda: cpus)
    torch.set_num_threads(6)
    assert limit_threads(processes) == limit == torch.get_num_threads()


@pytest.mark.usefixtures("threads")
def test_threads_that_the_user_chose_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setattr(device, "usable_cpus", lambda: 2)
    torch.set_num_threads(6)
    assert limit_threads() == 6

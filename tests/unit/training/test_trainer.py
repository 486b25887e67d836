"""The trial that finds the micro-batch, on a device that has memory for so many rows: it costs what the training will."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.support import builders
from torch.distributed.fsdp import FSDPModule

from llm2llm.errors import GpuOutOfMemory
from llm2llm.local.runner import Runner
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step
from llm2llm.training import trainer
from llm2llm.training.data import TokenizedRow, pad

ROWS = [TokenizedRow(str(number), [1] * (3 + number), 1) for number in range(20)]


@dataclass
class Device:
    """Memory for `rows` rows; activations are four times as large unless they are computed anew."""

    rows: int
    checkpointing: bool = False
    tried: list[int] = field(default_factory=list)
    trained: int = 0


class Model(torch.nn.Module):
    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device
        self.weight = torch.nn.Parameter(torch.ones(7, 7))
        self.frozen = torch.nn.Parameter(torch.ones(7, 7), requires_grad=False)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any]) -> None:
        assert gradient_checkpointing_kwargs == {"use_reentrant": False}
        self.device.checkpointing = True

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        rows, width = input_ids.shape
        self.device.tried.append(rows)
        assert width == 22  # the longest rows
        if rows * (1 if self.device.checkpointing else 4) > self.device.rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(logits=self.weight.sum() * torch.ones(rows, width, 5))


def fitting(monkeypatch: pytest.MonkeyPatch, device: Device, *, checkpointing: bool, ceiling: int = 16) -> int:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(trainer, "_GPU", "cpu")
    model = Model(device)
    empty_like = torch.empty_like

    def counted(weight: torch.Tensor) -> torch.Tensor:
        device.trained += weight.numel()
        return empty_like(weight)

    monkeypatch.setattr(torch, "empty_like", counted)
    found = trainer.find_micro_batch(model, ROWS, pad, "fp32", ceiling, checkpointing=checkpointing)
    assert model.weight.grad is None
    return found


@pytest.mark.parametrize(
    ("rows", "checkpointing", "tried"),
    [(16, True, [16]), (15, True, [16, 8]), (16, False, [16, 8, 4]), (1, True, [16, 8, 4, 2, 1])],
)
def test_the_trial_halves_until_it_fits(
    monkeypatch: pytest.MonkeyPatch, rows: int, checkpointing: bool, tried: list[int]
) -> None:
    device = Device(rows)
    assert fitting(monkeypatch, device, checkpointing=checkpointing) == tried[-1]
    assert device.tried == tried


def test_the_trial_holds_what_the_optimizer_will(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(16)
    fitting(monkeypatch, device, checkpointing=True)
    assert device.trained == 2 * 7 * 7


def test_a_model_that_no_library_divided_is_not_trained() -> None:
    """On CPUs accelerate makes DistributedDataParallel of FSDP without a word."""
    plain = SimpleNamespace(model_wrapped=torch.nn.Linear(1, 1))
    check = trainer._Wrapped(cast("Any", plain), FSDPModule)
    with pytest.raises(AssertionError, match="the model is Linear, not FSDPModule"):
        check.on_train_begin(None, None, None)


def test_fault_21_not_even_one_row_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GpuOutOfMemory, match="a micro-batch of 1: request a larger GPU"):
        fitting(monkeypatch, Device(3), checkpointing=False)


def test_fault_21_the_local_runner_keeps_the_micro_batch_that_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[Stage, int]] = []

    def attempt(_: Runner, step: Step, __: object) -> Any:
        tried.append((step.stage, step.micro_batch))
        if step.stage is Stage.TRAIN and not 0 < step.micro_batch <= 4:
            raise GpuOutOfMemory("too little", step.micro_batch or 16)

    monkeypatch.setattr(Runner, "_run_attempt", attempt)
    spec = SimpleNamespace(retries=SimpleNamespace(out_of_memory=3, transient=0))
    display = SimpleNamespace(say=lambda _: None)
    runner = Runner(cast("Any", SimpleNamespace(spec=spec)), {}, {}, cast("Any", display))
    for stage, iteration in ((Stage.TRAIN, 0), (Stage.EVALUATE, 0), (Stage.TRAIN, 1)):
        step = StepDocument(
            stage=stage,
            iteration=iteration,
            namespace="n",
            run="r",
            run_uid="0123456789abcdef",
            spec=builders.spec(),
            parents={},
        )
        runner._run_with_retries(Step.of(step), cast("Any", None))
    assert tried == [
        (Stage.TRAIN, 0),
        (Stage.TRAIN, 8),
        (Stage.TRAIN, 4),
        (Stage.EVALUATE, 0),
        (Stage.TRAIN, 4),
    ]

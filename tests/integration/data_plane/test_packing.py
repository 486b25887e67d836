"""However a step's rows are put through the model, its loss is that of each row by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.test_launch import job, weights

from llm2llm.training import run as session
from llm2llm.training.callback import Hooks
from llm2llm.training.packing import isolates_rows
from llm2llm.training.ranks import Ranks
from llm2llm.training.run import TrainingJob, TrainingResult


def trained(work: TrainingJob) -> tuple[TrainingResult, Mapping[str, Any]]:
    """What came of it, and what was told at its start."""
    told: list[Mapping[str, Any]] = []
    hooks = Hooks(lambda *_: Future(), threading.Event(), told.append, time.monotonic, 300)
    return session.train(work, session.load_model(work), hooks, Ranks()), told[0]


@pytest.mark.parametrize("method", ["LoRA", "QLoRA", "Full"])
def test_padded_micro_batches_and_none_padded_have_the_losses_of_rows_one_by_one(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    import torch

    def work(name: str, micro_batch: int) -> TrainingJob:
        made = job(tmp_path / name, student, method, micro_batch, 8)
        checkpointing = made.train.hyperparameters.model_copy(update={"gradient_checkpointing": method == "LoRA"})
        return replace(made, train=made.train.model_copy(update={"hyperparameters": checkpointing}))

    monkeypatch.setattr(session, "has_varlen_attention", lambda _: True)
    packed, packed_told = trained(work("packed", 8))
    monkeypatch.undo()
    monkeypatch.setattr(session, "PADDING_WASTE", 1.0)
    whole, whole_told = trained(work("whole", 8))
    monkeypatch.undo()
    alone, alone_told = trained(work("alone", 1))
    grouped, grouped_told = trained(work("grouped", 4))

    assert (packed_told["paddingFree"], packed_told["accumulation"]) == (True, 1)
    assert (alone_told["paddingFree"], alone_told["accumulation"]) == (False, 8)
    assert (grouped_told["paddingFree"], grouped_told["microBatch"]) == (False, 2)
    assert (whole_told["paddingFree"], whole_told["accumulation"]) == (False, 1)
    assert alone_told["paddingWaste"] == 0 < grouped_told["paddingWaste"] < 0.2 < whole_told["paddingWaste"]
    assert len(alone.outcome.losses) == 6
    assert whole.outcome.losses == pytest.approx(alone.outcome.losses, abs=1e-4)
    assert grouped.outcome.losses == pytest.approx(alone.outcome.losses, abs=1e-4)
    assert packed.outcome.losses == pytest.approx(alone.outcome.losses, abs=1e-4)
    expected = weights(work("alone", 1))
    for name in ("packed", "whole", "grouped"):
        found = weights(work(name, 1))
        assert all(torch.allclose(found[key], expected[key], atol=1e-4) for key in expected)


def test_a_model_that_mixes_rows_is_found_out_and_padded(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cache transformers leaves the block mask out; here a model uses one whatever its config says."""
    from transformers import LlamaModel

    work = job(tmp_path, student, "LoRA", 8, 8)
    model = session.load_model(work)
    assert isolates_rows(model, work.rows, "fp32")
    forward = LlamaModel.forward

    def caching(self: Any, *arguments: Any, **more: Any) -> Any:
        return forward(self, *arguments, **(more | {"use_cache": True}))

    monkeypatch.setattr(LlamaModel, "forward", caching)
    assert not isolates_rows(model, work.rows, "fp32")
    monkeypatch.setattr(session, "has_varlen_attention", lambda _: True)
    monkeypatch.setattr(session, "PADDING_WASTE", 0.5)
    _, told = trained(work)

    assert told["paddingFree"] is False
    assert told["microBatch"] == 8


def test_rows_are_not_packed_with_a_cache(tmp_path: Path, student: Path) -> None:
    work = job(tmp_path, student, "LoRA", 8, 8)
    model = session.load_model(work)
    model.config.use_cache = True

    assert not isolates_rows(model, work.rows, "fp32")

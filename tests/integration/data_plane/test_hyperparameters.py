"""A training does what its hyperparameters say: its weights are those of a plain loop that takes each at its word."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration.data_plane.test_launch import job, weights
from tests.integration.data_plane.test_packing import trained

from llm2llm.training import trainer
from llm2llm.training.model import load_student
from llm2llm.training.plan import plan
from llm2llm.training.run import TrainingJob

UNUSUAL = {"learning_rate": "3e-3", "warmup_ratio": "0.3", "max_grad_norm": "0.05", "weight_decay": "0.4"}


def work(folder: Path, student: Path, **changes: Any) -> TrainingJob:
    made = job(folder, student, "Full", 4, 8)
    parameters = made.train.hyperparameters.model_copy(update={**UNUSUAL, **changes})
    return replace(made, train=made.train.model_copy(update={"hyperparameters": parameters}))


def factor(schedule: str, step: int, steps: int, warm_up: int) -> float:
    """The learning rate of an optimizer step, from 0, as a share of its peak."""
    if step < warm_up:
        return step / warm_up
    left = (steps - step) / (steps - warm_up)
    return {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 + math.cos(math.pi * (1 - left)))}[schedule]


def plainly(made: TrainingJob) -> dict[str, torch.Tensor]:
    """The weights after a loop over single rows."""
    parameters = made.train.hyperparameters
    lengths = [len(row.ids) for row in made.rows]
    steps = plan(
        lengths,
        epochs=parameters.num_train_epochs,
        batch=parameters.effective_batch_size,
        min_steps=made.train.min_steps,
        seed=made.seed,
        micro_batch=1,
    )
    model = load_student(made.base, made.train, "fp32", seed=made.seed, start=None)
    rate, decay = float(parameters.learning_rate), float(parameters.weight_decay)
    scales = [weight for name, weight in model.named_parameters() if "norm" in name]  # which nothing makes smaller
    others = [weight for name, weight in model.named_parameters() if "norm" not in name]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, rate, weight_decay=decay)
    warm_up = math.ceil(steps.steps * float(parameters.warmup_ratio))
    for step, rows in enumerate(steps.step_rows()):
        batch = [made.rows[row] for row in rows]
        learned = sum(len(row.ids) - row.prompt for row in batch)
        for row in batch:
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, row.prompt - 1 : -1]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[row.prompt :]), reduction="sum")
            (loss / learned).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), float(parameters.max_grad_norm))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor(parameters.lr_scheduler_type, step, steps.steps, warm_up)
        optimizer.step()
        optimizer.zero_grad()
    return {name: weight.detach() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_weights_are_those_of_a_plain_loop(tmp_path: Path, student: Path, schedule: str) -> None:
    made = work(tmp_path, student, lr_scheduler_type=schedule)
    trained(made)
    found, expected = weights(made), plainly(made)
    apart = max(float((found[name] - weight).abs().max()) for name, weight in expected.items() if name in found)
    print(f"{schedule}: the weights are at most {apart:.1e} apart")
    assert apart < 1e-5
    assert len(found) >= len(expected) - 1  # tied weights are written once


@pytest.mark.parametrize("wanted", [True, False])
def test_gradient_checkpointing_is_on_where_it_is_asked_for(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    computed: list[bool] = []
    fit = trainer.fit

    def watched(model: Any, *given: Any, **more: Any) -> Any:
        model.register_forward_hook(lambda *_: computed.append(model.is_gradient_checkpointing))
        return fit(model, *given, **more)

    monkeypatch.setattr(trainer, "fit", watched)
    trained(work(tmp_path, student, gradient_checkpointing=wanted))
    assert set(computed) == {wanted}

"""How prompts share batches, over a model that answers by a rule."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from llm2llm.engines import transformers
from llm2llm.engines.base import SamplingSettings, Student
from llm2llm.engines.transformers import TransformersEngine
from llm2llm.errors import GpuOutOfMemory

EOS = 1
STUDENT = Student(Path("unused"), None, "none", eos=EOS)


class Model:
    """Answers each prompt with its first token as often as that says, then with EOS; notes what it was given."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    def generate(self, input_ids: torch.Tensor, **more: Any) -> torch.Tensor:
        self.batches.append({"input_ids": input_ids.tolist()} | more)
        limit = more["generation_config"].max_new_tokens
        answers = []
        for ids, mask in zip(input_ids.tolist(), more["attention_mask"].tolist(), strict=True):
            first = ids[mask.index(1)]
            answers.append(([first] * first + [EOS] * limit)[:limit])
        return torch.cat([input_ids, torch.tensor(answers)], dim=1)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    loaded = Model()
    monkeypatch.setattr(transformers, "_load", lambda *_: loaded)
    return loaded


def answers(prompts: list[list[int]], limits: list[int], draws: SamplingSettings | None = None) -> dict[int, list[int]]:
    engine = TransformersEngine(STUDENT, precision="fp32", gpus=1, context=64)
    told: dict[int, list[int]] = {}
    for batch in engine.generate(prompts, limits, draws):
        assert not told.keys() & batch.keys()
        told |= batch
    return told


def test_an_answer_ends_with_eos_or_at_its_limit_and_is_told_by_the_place_of_its_prompt(model: Model) -> None:
    assert answers([[2, 9], [3, 9, 9], [7]], [4, 4, 4]) == {0: [2, 2, EOS], 1: [3, 3, 3, EOS], 2: [7, 7, 7, 7]}


def test_prompts_of_a_batch_are_padded_on_the_left_and_the_longest_come_first(model: Model) -> None:
    answers([[2, 9], [3, 9, 9], [7]], [4, 4, 4])
    (batch,) = model.batches

    assert batch["input_ids"] == [[3, 9, 9], [EOS, 2, 9], [EOS, EOS, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def test_a_row_that_may_say_less_never_shares_a_batch_with_one_that_may_say_more(model: Model) -> None:
    """Its context would be exceeded by the other's limit."""
    assert answers([[9] * 6, [9] * 5, [9] * 4], [2, 3, 3]) == {0: [9, 9], 1: [9, 9, 9], 2: [9, 9, 9]}
    assert [len(batch["input_ids"]) for batch in model.batches] == [1, 2]


@pytest.mark.parametrize(
    ("tokens", "rows", "batches"),
    [
        pytest.param(24, 512, [2, 2, 1], id="two rows of twelve tokens in 24"),
        pytest.param(23, 512, [1, 1, 1, 1, 1], id="not in 23"),
        pytest.param(5, 512, [1, 1, 1, 1, 1], id="one row at least"),
        pytest.param(999, 3, [3, 2], id="no more rows than that"),
    ],
)
def test_a_batch_has_the_tokens_of_its_longest_row_for_each(
    model: Model, monkeypatch: pytest.MonkeyPatch, tokens: int, rows: int, batches: list[int]
) -> None:
    monkeypatch.setattr(transformers, "_BATCH_TOKENS", {"cpu": tokens})
    monkeypatch.setattr(transformers, "_BATCH_ROWS", rows)
    answers([[9] * 8 for _ in range(5)], [4] * 5)
    assert [len(batch["input_ids"]) for batch in model.batches] == batches


def test_a_row_keeps_its_seed_wherever_it_comes_in_its_batch(model: Model) -> None:
    answers([[2], [3, 9], [7, 9, 9]], [4, 4, 4], SamplingSettings(0.7, [20, 30, 70]))
    ((processor,),) = [batch["logits_processor"] for batch in model.batches]
    expected = [random.Random(seed).random() for seed in (70, 30, 20)]

    assert processor._draws[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_student_whose_weights_alone_the_gpu_does_not_hold_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(transformers, "_load", load)
    with pytest.raises(
        GpuOutOfMemory, match=r"enough memory for the student's weights \(CUDA out .*larger GPU in spec\.evaluate$"
    ) as caught:
        answers([[2]], [4])
    assert caught.value.micro_batch == 1

"""The engine that needs no GPU, on one whose memory holds few rows."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from tests.integration.data_plane.bench import Bench, learned

from llm2llm.errors import GpuOutOfMemory
from llm2llm.records import Stage
from llm2llm.step import run_step
from llm2llm.storage import LocalStore


def gpu_that_holds(rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has batches of more rows run out of memory; the rows of each batch that was tried."""
    import torch
    from transformers import GenerationMixin

    tried: list[int] = []
    generate = GenerationMixin.generate

    def limited(self: Any, input_ids: Any, **more: Any) -> Any:
        tried.append(len(input_ids))
        if len(input_ids) > rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return generate(self, input_ids, **more)

    monkeypatch.setattr(GenerationMixin, "generate", limited)
    return tried


def test_a_batch_that_the_gpu_does_not_hold_is_halved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = learned(bench)
    undisturbed = LocalStore(shutil.copytree(bench.folder / "run", bench.folder / "undisturbed"))
    expected = run_step(run.step(Stage.EVALUATE), undisturbed, bench.context("alone"))
    tried = gpu_that_holds(8, monkeypatch)

    assert run_step(run.step(Stage.EVALUATE), store, bench.context()).digest == expected.digest
    assert tried == [60, 30, 15, 7, 7, 7, 7, 7, 7, 7, 7, 4]


def test_an_evaluation_whose_longest_row_the_gpu_does_not_hold_is_out_of_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = learned(bench)
    gpu_that_holds(0, monkeypatch)

    with pytest.raises(
        GpuOutOfMemory, match=r"not have enough memory for one prompt of 9 tokens with an answer of 4 .* larger GPU"
    ) as told:
        run_step(run.step(Stage.EVALUATE), store, bench.context())
    assert (told.value.exit_code, told.value.micro_batch) == (69, 1)


def test_the_head_gets_states_without_gaps_whatever_the_batch(bench: Bench) -> None:
    """With gaps its product in bf16 on a CPU takes 56 MB a row of a model of 135M."""
    import torch
    from transformers import AutoModelForCausalLM

    from llm2llm.engines import transformers as module

    model: Any = AutoModelForCausalLM.from_pretrained(bench.student)
    prompts = torch.tensor([[3, 4, 5], [6, 7, 8]])
    seen: list[bool] = []

    def answers() -> list[list[int]]:
        head = model.get_output_embeddings()
        with (
            torch.inference_mode(),
            head.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous())),
        ):
            ids = model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=3, do_sample=False)
        return [list(row) for row in ids.tolist()]

    before = answers()
    assert not all(seen), "transformers hands the whole states to the head: the copy is not needed any more"
    seen.clear()
    module._give_the_head_contiguous_states(model)
    assert answers() == before
    assert all(seen)
    assert len(seen) == 3

"""Training beside the usual ways on the same machine in the same run: tokens a second and padding, at equal loss.

    python -m benchmarks.training_rate

The ratios are what is claimed: the absolute numbers are of one machine, a small model and the CPU.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm2llm.training.data import TokenizedRow
from llm2llm.training.plan import TrainingPlan

VOCABULARY = 1024
ROWS = 128
STEPS = 8
BATCH = 16
LEARNING_RATE = "1e-3"
EQUAL = 1e-3
"""How far the losses of any step may lie apart; at the end of training rounding has had all steps to grow."""
ROUNDS = 2
"""Each way is measured so often, by turns; the best counts, because a machine is only ever slowed down."""


@dataclass(frozen=True)
class Way:
    """One way to train, measured."""

    name: str
    seconds: float
    tokens: int
    waste: float
    losses: tuple[float, ...]


def training() -> str:
    """(a) Real tokens a second and padding, at equal loss: our trainer, random batches of 16, and rows one by one."""
    with tempfile.TemporaryDirectory(prefix="llm2llm-bench-") as folder:
        base = _student(Path(folder) / "base")
        rows = _rows()
        ways = {
            "this trainer": lambda: _ours(base, rows, Path(folder)),
            "random padded batches of 16": lambda: _usual("random padded batches of 16", base, rows, micro_batch=BATCH),
            "batch 1, accumulated": lambda: _usual("batch 1, accumulated", base, rows, micro_batch=1),
        }
        measured = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS)]
        best = {name: _best([of_round[name] for of_round in measured]) for name in ways}
    mine = best["this trainer"]
    described = (
        f"{ROWS} rows of {min(len(row.ids) for row in rows)} to {max(len(row.ids) for row in rows)} tokens, {STEPS} steps "
        f"of {BATCH} rows, LoRA on a Llama of 2 layers and hidden 256, fp32, {os.environ['OMP_NUM_THREADS']} thread"
    )
    lines = [
        described,
        "",
        "| way | tokens/s | padding | this trainer is faster by | largest difference in a step's loss |",
        "|---|---|---|---|---|",
    ]
    for way in best.values():
        apart = max(abs(a - b) for a, b in zip(mine.losses, way.losses, strict=True))
        assert apart < EQUAL, f"{way.name} has other losses: {apart}"
        ratio = (mine.tokens / mine.seconds) / (way.tokens / way.seconds)
        lines.append(f"| {way.name} | {way.tokens / way.seconds:.0f} | {way.waste:.1%} | {ratio:.2f} | {apart:.1e} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(training())
    return 0


def _best(measured: Sequence[Way]) -> Way:
    return min(measured, key=lambda way: way.seconds)


def _student(folder: Path) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def _rows() -> list[TokenizedRow]:
    """Of log-normal lengths, most of them short; the last third of each is learned."""
    rng = random.Random(0)
    rows = []
    for number in range(ROWS):
        length = max(24, min(400, round(rng.lognormvariate(4.6, 0.5))))
        rows.append(TokenizedRow(str(number), [rng.randrange(2, VOCABULARY) for _ in range(length)], 2 * length // 3))
    return rows


def _plan(rows: Sequence[TokenizedRow], micro_batch: int) -> TrainingPlan:
    return TrainingPlan([len(row.ids) for row in rows], BATCH, STEPS, 0, micro_batch)


def _tokens(rows: Sequence[TokenizedRow]) -> int:
    return sum(len(rows[index].ids) for step in _plan(rows, BATCH).step_rows() for index in step)


def _train() -> Any:
    from llm2llm.api.stages import Train

    return Train.model_validate(
        {
            "lora": {"dropout": "0"},
            "hyperparameters": {
                "learningRate": LEARNING_RATE,
                "lrSchedulerType": "constant",
                "warmupRatio": "0",
                "numTrainEpochs": 1,
                "effectiveBatchSize": BATCH,
                "gradientCheckpointing": False,
            },
            "minSteps": STEPS,
        }
    )


def _ours(base: Path, rows: list[TokenizedRow], folder: Path) -> Way:
    from llm2llm.training import run as session
    from llm2llm.training.callback import Hooks
    from llm2llm.training.ranks import Ranks

    told: list[Any] = []
    hooks = Hooks(lambda *_: Future(), threading.Event(), told.append, time.monotonic, 1e9)
    job = session.TrainingJob(
        base, None, rows, _train(), 0, BATCH, None, folder / "scratch", folder / "student", "", "", trusted=False
    )
    student = session.load_model(job)
    began = time.perf_counter()
    trained = session.train(job, student, hooks, Ranks())
    return Way(
        "this trainer", time.perf_counter() - began, _tokens(rows), told[0]["paddingWaste"], trained.outcome.losses
    )


def _usual(name: str, base: Path, rows: list[TokenizedRow], *, micro_batch: int) -> Way:
    """A training loop as most scripts have it, over the same rows in the same steps, from the same first weights."""
    import torch
    from torch.nn.functional import cross_entropy

    from llm2llm.training.data import IGNORED, pad
    from llm2llm.training.model import load_student

    model = load_student(base, _train(), "fp32", seed=0, start=None).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=float(LEARNING_RATE), weight_decay=0)
    losses: list[float] = []
    began = time.perf_counter()
    for step in _plan(rows, BATCH).step_rows():
        learned = sum(len(rows[index].ids) - rows[index].prompt for index in step)
        total = 0.0
        for part in _parts(step, micro_batch):
            batch = {key: torch.tensor(value) for key, value in pad([rows[index] for index in part]).items()}
            labels = batch.pop("labels")[:, 1:].flatten()
            logits = model(**batch).logits[:, :-1].flatten(0, 1)
            loss = cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / learned
            torch.autograd.backward(loss)
            total += float(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    seconds = time.perf_counter() - began
    return Way(name, seconds, _tokens(rows), _waste(rows, micro_batch), tuple(losses))


def _parts(step: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for begin in range(0, len(step), size):
        yield step[begin : begin + size]


def _waste(rows: Sequence[TokenizedRow], micro_batch: int) -> float:
    parts = [part for step in _plan(rows, BATCH).step_rows() for part in _parts(step, micro_batch)]
    total = sum(max(len(rows[index].ids) for index in part) * len(part) for part in parts)
    return 1 - _tokens(rows) / total


if __name__ == "__main__":
    sys.exit(main())

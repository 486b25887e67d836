"""Training and evaluation of a real model beside the reference's way: SmolLM2-135M-Instruct, with its vocabulary of 49,152.

    python -m benchmarks.data_plane real

Each is a process from its start to its end. Of both sides the fastest of ROUNDS runs counts, by turns, because a machine
is only ever slowed down. Rows, steps, precision and threads are the same on both sides.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.support import keyword as small
from tests.support.smollm2 import smollm2_folder

from benchmarks.processes import run_reference, run_step_alone
from llm2llm.artifacts.committed import committed_manifest
from llm2llm.records import Report, Stage
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

ROWS = BATCH = 32
"""Rows that are trained on, in one optimizer step."""
HELD_OUT = 32
LONGEST = 60
"""Words of the longest row; a word of the example is three tokens here."""
LIMIT = 16
"""Tokens of an answer."""
THREADS = (1, 2)
PRECISIONS = ("fp32", "bf16")
ROUNDS = 1


def main() -> int:
    """Prints a table of ratios."""
    print("| SmolLM2-135M | precision | threads | LLM2LLM operator | of it computing | reference | ratio |")
    print("|---|---|---|---|---|---|---|")
    for precision in PRECISIONS:
        for threads in THREADS:
            _compare(precision, threads)
    return 0


def rows_of_all_lengths(rng: random.Random, count: int, *, longest: int = 200) -> list[dict[str, str]]:
    """Returns sentences of 8 to `longest` words, log-uniform as real rows are, with the names that both sides read."""
    found = []
    for _ in range(count):
        words = [rng.choice(small.FILLERS) for _ in range(round(8 * (longest / 8) ** rng.random()))]
        label = rng.choice(small.LABELS)
        found.append({"text": " ".join(words), "label": label, "prompt": " ".join(words), "completion": label})
    return found


def _compare(precision: str, threads: int) -> None:
    with tempfile.TemporaryDirectory(prefix="llm2llm-real-") as name:
        folder = Path(name)
        rng = random.Random(0)
        for file, count in (("seed", ROWS), ("evaluation", HELD_OUT)):
            (folder / f"{file}.jsonl").write_bytes(small.jsonl(rows_of_all_lengths(rng, count, longest=LONGEST)))
        base = smollm2_folder()
        run, store = small.Run(_spec(folder, base, precision)), LocalStore(folder / "run")
        context = StepContext(pod_uid="pod", scratch=folder / "scratch", progress=lambda _: None)
        run.add(run_step(run.step(Stage.PREPARE), store, context))
        common = ("--dtype", precision)
        for stage in (Stage.TRAIN, Stage.EVALUATE):
            ours: list[tuple[float, float]] = []
            theirs: list[float] = []
            for _ in range(ROUNDS):
                shutil.rmtree(folder / "run/iterations/000" / stage.value.lower(), ignore_errors=True)
                seconds = run_step_alone(run.step(stage), folder / "run", folder / "scratch-alone", threads=threads)
                report = _report_of(run, store, stage)
                ours.append((seconds, float(report.seconds.get("compute", 0))))
                if stage is Stage.TRAIN:
                    arguments: list[object] = ["train", folder / "seed.jsonl", base, folder / "adapter"]
                    arguments += ["--steps", 1, "--batch", BATCH]
                    theirs.append(run_reference(*arguments, *common, threads=threads))
                else:
                    theirs.append(
                        sum(
                            run_reference(
                                *("evaluate", folder / f"{file}.jsonl", base, folder / "adapter"),
                                *(folder / f"{file}.answers", "--limit", LIMIT, *common),
                                threads=threads,
                            )
                            for file in ("seed", "evaluation")
                        )
                    )
            run.add(_report_of(run, store, stage))
            mine, computing = min(ours)
            what = f"training, one step of {BATCH} rows" if stage is Stage.TRAIN else _evaluated(folder)
            told = f"{mine:.1f} s | {computing:.1f} s | {min(theirs):.1f} s | {min(theirs) / mine:.2f}"
            print(f"| {what} | {precision} | {threads} | {told} |", flush=True)


def _evaluated(folder: Path) -> str:
    count = sum(len((folder / f"{file}.jsonl").read_text().splitlines()) for file in ("seed", "evaluation"))
    return f"evaluation, {count} rows, {LIMIT} tokens each"


def _spec(folder: Path, base: Path, precision: str) -> dict[str, Any]:
    return small.spec(
        seed_uri=(folder / "seed.jsonl").as_uri(),
        evaluation_uri=(folder / "evaluation.jsonl").as_uri(),
        model_uri=base.as_uri(),
        artifacts_uri=(folder / "runs").as_uri(),
        task__chatTemplate="Never",
        evaluate__sampling={"maxTokens": LIMIT},
        evaluate__precision=precision,
        train__precision=precision,
        train__minSteps=1,
        train__hyperparameters={
            **small.HYPERPARAMETERS,
            "numTrainEpochs": 1,
            "effectiveBatchSize": BATCH,
            "maxLength": 1024,
        },
    )


def _report_of(run: small.Run, store: LocalStore, stage: Stage) -> Report:
    manifest = committed_manifest(store, run.step(stage))
    assert manifest, json.dumps(run.document)
    return manifest.report

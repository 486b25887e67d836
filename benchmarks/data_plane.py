"""The data plane beside the reference's way, as ratios in one run.

    python -m benchmarks.data_plane training        tokens a second and padding (training_rate.py)
    python -m benchmarks.data_plane evaluation      one load, rows sorted by length, the two sets that count
    python -m benchmarks.data_plane teacher         a limit that nobody told, halved midway (teacher_rate.py; 36 minutes)
    python -m benchmarks.data_plane deduplication   8,000 rows beside rouge_score
    python -m benchmarks.data_plane loop            five iterations, from the data to the last adapter
    python -m benchmarks.data_plane real            a step of each with SmolLM2-135M, by one and two threads (real_model.py)

The reference's way is `benchmarks.reference`, a port of its described behavior. Each part prints a Markdown table;
docs/measurements.md holds what was printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support import keyword as small
from tests.support.teacher import Teacher

from benchmarks import real_model, teacher_rate, training_rate
from benchmarks.keyword import Laboratory
from benchmarks.processes import run_reference, run_step_alone
from benchmarks.real_model import rows_of_all_lengths
from llm2llm.augment.dedup import SequenceIndex
from llm2llm.records import Stage
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

ITERATIONS = 5
LIMIT = 16
"""Tokens of an answer in `evaluation`, on both sides."""
OUTPUT_LIMIT = 100
"""Where the reference cuts an answer off."""


def evaluation() -> int:
    """Runs of 240 and of 500 seed rows, after as many iterations as it takes to have twice as many rows beside them."""
    print("| evaluation | rows asked | loads | seconds | ratio | equal answers |\n|---|---|---|---|---|---|")
    for seeds in (240, 500):
        _evaluation(seeds, 2 * seeds, 1000)
    return 0


def _evaluation(seed_rows: int, synthetic_rows: int, held_out_rows: int) -> None:
    """Seed and evaluation set by Evaluate, beside the whole training file and the test file by two processes.

    Lengths are spread as those of real rows are (8 to 200 words, log-uniform); the student is untrained, so no answer
    ends early and every token of the limit is paid for on both sides.
    """
    with tempfile.TemporaryDirectory(prefix="llm2llm-evaluation-") as name:
        folder = Path(name)
        rng = random.Random(0)
        base = _student(folder / "student")
        seeds, synthetic, held_out = (
            rows_of_all_lengths(rng, count) for count in (seed_rows, synthetic_rows, held_out_rows)
        )
        for file, rows in (("seed", seeds), ("training", [*seeds, *synthetic]), ("evaluation", held_out)):
            (folder / f"{file}.jsonl").write_bytes(small.jsonl(rows))
        document = small.spec(
            seed_uri=(folder / "seed.jsonl").as_uri(),
            evaluation_uri=(folder / "evaluation.jsonl").as_uri(),
            model_uri=base.as_uri(),
            artifacts_uri=(folder / "runs").as_uri(),
            evaluate__sampling={"maxTokens": LIMIT},
            train__minSteps=1,
            train__hyperparameters={**small.HYPERPARAMETERS, "numTrainEpochs": 1, "maxLength": 512},
        )
        run, store = small.Run(document), LocalStore(folder / "run")
        context = StepContext(pod_uid="pod", scratch=folder / "scratch", progress=lambda _: None)
        for stage in (Stage.PREPARE, Stage.TRAIN):
            run.add(run_step(run.step(stage), store, context))
        adapter = next((folder / "run/iterations/000/train/data").glob("*/adapter"))
        ours = run_step_alone(run.step(Stage.EVALUATE), folder / "run", folder / "scratch-of-evaluate")
        theirs = sum(
            run_reference(
                "evaluate", folder / f"{file}.jsonl", base, adapter, folder / f"{file}.answers", "--limit", LIMIT
            )
            for file in ("training", "evaluation")
        )
        same = _same(folder, store, run)
    asked, all_rows = len(seeds) + len(held_out), len(seeds) + len(synthetic) + len(held_out)
    print(f"| LLM2LLM operator | {asked} | 1 | {ours:.1f} | | |")
    told = f"{same[0]} of {same[1]} asked by both"
    print(f"| reference | {all_rows} | 2 | {theirs:.1f} | {theirs / ours:.1f} | {told} |", flush=True)


def _student(folder: Path) -> Path:
    """An untrained student of 4 layers and width 128, with room for long prompts."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    config = small.config(0.2)
    config.update(
        {
            "max_position_embeddings": 512,
            "num_hidden_layers": 4,
            "hidden_size": 128,
            "intermediate_size": 256,
            "head_dim": 64,
        }
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    small.write_tokenizer(folder)
    return folder


def _same(folder: Path, store: LocalStore, run: Any) -> tuple[int, int]:
    """Rows whose answers are equal, and rows that both were asked."""
    from llm2llm.artifacts.committed import committed_manifest, read_object
    from llm2llm.records import predictions_from_jsonl

    manifest = committed_manifest(store, run.step(Stage.EVALUATE))
    assert manifest
    equal = total = 0
    for dataset, file in (("seed", "training"), ("evaluation", "evaluation")):
        ours = list(predictions_from_jsonl(read_object(store, manifest, f"predictions.{dataset}.jsonl")))
        theirs = [json.loads(line) for line in (folder / f"{file}.answers").read_text().splitlines()]
        pairs = list(zip(ours, theirs, strict=False))
        total += len(pairs)
        equal += sum(mine.output.split() == other["answer"].split() for mine, other in pairs)
    return equal, total


def deduplication(rows: int = 8000, sampled: int = 40) -> int:
    """Each row against all before it; rouge_score on a sample of them, scaled up, since all would take days."""
    from rouge_score.rouge_scorer import RougeScorer

    rng = random.Random(0)
    words = [f"w{number}" for number in range(2000)]
    texts = [[rng.choice(words) for _ in range(rng.randint(20, 60))] for _ in range(rows)]
    index = SequenceIndex(0.95)
    began = time.monotonic()
    for number, text in enumerate(texts):
        index.nearest(text)
        index.add(text, str(number))
    ours = time.monotonic() - began
    scorer = RougeScorer(["rougeL"])
    places = rng.sample(range(rows), sampled)
    others = rng.sample(range(rows), 50)
    began = time.monotonic()
    for place in places:
        for other in others:
            scorer.score(" ".join(texts[place]), " ".join(texts[other]))
    pair = (time.monotonic() - began) / (sampled * len(others))
    theirs = pair * rows * (rows - 1) / 2
    print("| de-duplication | rows | seconds | ratio |\n|---|---|---|---|")
    print(f"| LLM2LLM operator | {rows} | {ours:.1f} | |")
    print(
        f"| rouge_score, extrapolated from {sampled * len(others)} pairs | {rows} | {theirs:.0f} | {theirs / ours:.0f} |"
    )
    return 0


def loop(seed: int = 0) -> int:
    """The keyword example, five iterations: `llm2llm run` beside the reference's scripts, one process a stage."""
    with tempfile.TemporaryDirectory(prefix="llm2llm-loop-") as name, Teacher(Path(name) / "teacher") as teacher:
        laboratory = Laboratory(Path(name), teacher)
        laboratory.run("warm-up", seed, {"spec.maxIterations": 1})  # the data, and the files of torch in memory
        began = time.monotonic()
        curve = laboratory.run("ours", seed, {"spec.maxIterations": ITERATIONS})
        ours = time.monotonic() - began
        began = time.monotonic()
        scores, parts = _reference_loop(Path(name), teacher, seed)
        theirs = time.monotonic() - began
    print("| five iterations | seconds | ratio | accuracy by iteration |\n|---|---|---|---|")
    print(f"| LLM2LLM operator | {ours:.0f} | | {', '.join(f'{one.accuracy:.3f}' for one in curve)} |")
    print(f"| reference | {theirs:.0f} | {theirs / ours:.1f} | {', '.join(f'{score:.3f}' for score in scores)} |")
    print(f"\nOf the reference's: {', '.join(f'{part} {seconds:.0f} s' for part, seconds in parts.items())}.")
    return 0


def _reference_loop(folder: Path, teacher: Teacher, seed: int) -> tuple[list[float], dict[str, float]]:
    """Accuracy by iteration, and the seconds of each part."""
    data, work = folder / f"data-{seed}", folder / "reference"
    work.mkdir()
    training = work / "training.jsonl"
    training.write_text((data / "seed.jsonl").read_text())
    seeds = len(training.read_text().splitlines())
    scores, parts = [], {"training": 0.0, "evaluation": 0.0, "generation": 0.0}

    def timed(part: str, *arguments: object) -> None:
        parts[part] += run_reference(*arguments)

    for iteration in range(ITERATIONS):
        rows = len(training.read_text().splitlines())
        adapter = work / f"adapter-{iteration}"
        steps = -(-16 * rows // 16)
        timed("training", "train", training, data / "model", adapter, "--steps", steps, "--seed", seed)
        for file in (training, data / "evaluation.jsonl"):
            answers = work / f"{file.stem}.answers"
            timed("evaluation", "evaluate", file, data / "model", adapter, answers, "--limit", OUTPUT_LIMIT)
        told = [json.loads(line) for line in (work / "evaluation.answers").read_text().splitlines()]
        scores.append(sum(row["correct"] for row in told) / len(told))
        if iteration + 1 < ITERATIONS:
            answered = [json.loads(line) for line in (work / "training.answers").read_text().splitlines()]
            wrong = [row for row in answered[:seeds] if not row["correct"]]
            (work / "mistakes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
            timed(
                "generation",
                "generate",
                work / "mistakes.jsonl",
                work / "new.jsonl",
                "--url",
                teacher.base_url,
                "--key",
                teacher.key,
            )
            training.write_text(training.read_text() + (work / "new.jsonl").read_text())
    return scores, parts


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[], int]] = {
        "training": training_rate.main,
        "evaluation": evaluation,
        "teacher": lambda: teacher_rate.main([]),
        "deduplication": deduplication,
        "loop": loop,
        "real": real_model.main,
    }
    parser.add_argument("part", choices=parts)
    return parts[parser.parse_args(argv).part]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

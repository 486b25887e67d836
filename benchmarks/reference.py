"""The reference's way, ported from its described behavior (LLM2LLM, arXiv 2403.15042, section 4 and its README), to be compared with.

    python -m benchmarks.reference train    ROWS BASE OUT --steps N --seed N    batch 1, gradients accumulated over 16 rows
    python -m benchmarks.reference evaluate ROWS BASE ADAPTER OUT --limit N     one file, in its order, batches of 64
    python -m benchmarks.reference generate MISTAKES OUT --url URL              10 threads, 2 s of sleep after each request

Each is a process that loads everything anew, as the reference's scripts are. Numbers that decide what is learned (rank,
rate, schedule, rows of a step) are those of the example, so that only the way differs. Answers are greedy, not drawn at
0.7, so that verdicts can be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BATCH = 16
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
EVALUATION_BATCH = 64
THREADS, SLEEP_SECONDS = 10, 2.0
ROUGE_THRESHOLD = 0.95
Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    """Rows of a file: prompt and completion."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(
    rows: Sequence[Row], base: Path, out: Path, steps: int, seed: int, *, batch: int = BATCH, dtype: str = "auto"
) -> None:
    """One row at a time, an optimizer step every `batch` of them, in an order that knows no lengths."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup, set_seed

    set_seed(seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES.get(dtype, dtype))
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear")
    model = get_peft_model(model, config).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(0.03 * steps), steps)
    order: list[int] = []
    for _ in range(steps):
        for _ in range(batch):
            if not order:
                order = random.sample(range(len(rows)), len(rows))
            row = rows[order.pop()]
            prompt = tokenizer(f"{row['prompt']} <sep>")["input_ids"]
            ids = torch.tensor([[*prompt, *tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id]])
            labels = ids.clone()
            labels[:, : len(prompt)] = -100
            (model(input_ids=ids, labels=labels).loss / batch).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(out)


def evaluate(rows: Sequence[Row], base: Path, adapter: Path, out: Path, limit: int, *, dtype: str = "auto") -> None:
    """Answers to a whole file, in its order: a batch is as wide as its longest row and runs until its last answer ends."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES.get(dtype, dtype)), adapter
    ).eval()
    answers: list[str] = []
    with torch.inference_mode():
        for start in range(0, len(rows), EVALUATION_BATCH):
            prompts = [f"{row['prompt']} <sep>" for row in rows[start : start + EVALUATION_BATCH]]
            batch = tokenizer(prompts, return_tensors="pt", padding=True)
            written = model.generate(
                **batch, max_new_tokens=limit, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
            answers += tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    told = [
        row | {"answer": answer, "correct": answer.strip() == row["completion"]}
        for row, answer in zip(rows, answers, strict=True)
    ]
    out.write_text("".join(json.dumps(row) + "\n" for row in told))


def generate(mistakes: Sequence[Row], out: Path, url: str, key: str, each: int) -> None:
    """Asks for rows like the mistakes, each thread sleeping after its request; drops near duplicates of this round."""
    from rouge_score.rouge_scorer import RougeScorer

    def ask(wanted: tuple[Row, int]) -> Row | None:
        row, number = wanted
        body = {
            "model": "keyword-teacher",
            "messages": [
                {"role": "user", "content": _request(row, number)},
            ],
        }
        request = urllib.request.Request(
            f"{url}/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = json.load(answer)["choices"][0]["message"]["content"]
        time.sleep(SLEEP_SECONDS)
        try:
            found = json.loads(text[text.find("{") : text.rfind("}") + 1])
            return {"prompt": str(found["prompt"]), "completion": row["completion"]}
        except (ValueError, KeyError):
            return None

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(ask, [(row, number) for row in mistakes for number in range(each)]))
    scorer = RougeScorer(["rougeL"])
    kept: list[Row] = []
    for row in answers:
        if row and all(
            scorer.score(row["prompt"], other["prompt"])["rougeL"].fmeasure < ROUGE_THRESHOLD for other in kept
        ):
            kept.append(row)
    out.write_text("".join(json.dumps(row) + "\n" for row in kept))


def _request(row: Row, number: int) -> str:
    """In the words that the example's teacher understands."""
    return (
        f"The small model got this one wrong:\n{json.dumps({'prompt': row['prompt']})}\n"
        f"Right answer: {json.dumps(row['completion'])}\n\nWrite one new example that practises what the small model lacks "
        f"here, and whose right answer is {json.dumps(row['completion'])}. Give only the input, as a JSON object with the "
        f'keys "prompt". This is number {number + 1} for it.'
    )


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    evaluation = commands.add_parser("evaluate")
    generation = commands.add_parser("generate")
    for command in (training, evaluation):
        command.add_argument("rows", type=Path)
        command.add_argument("base", type=Path)
        command.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="of the base's weights")
    training.add_argument("out", type=Path)
    training.add_argument("--steps", type=int, required=True)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--batch", type=int, default=BATCH)
    evaluation.add_argument("adapter", type=Path)
    evaluation.add_argument("out", type=Path)
    evaluation.add_argument("--limit", type=int, default=100)
    generation.add_argument("mistakes", type=Path)
    generation.add_argument("out", type=Path)
    generation.add_argument("--url", required=True)
    generation.add_argument("--key", required=True)
    generation.add_argument("--each", type=int, default=3)
    options = parser.parse_args(argv)
    match options.command:
        case "train":
            train(
                rows_of(options.rows),
                options.base,
                options.out,
                options.steps,
                options.seed,
                batch=options.batch,
                dtype=options.dtype,
            )
        case "evaluate":
            evaluate(
                rows_of(options.rows), options.base, options.adapter, options.out, options.limit, dtype=options.dtype
            )
        case _:
            generate(rows_of(options.mistakes), options.out, options.url, options.key, options.each)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

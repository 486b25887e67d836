"""PURE: writes the card (README.md) of a student or of its training rows, in the format of the Hugging Face Hub.

It has what a reader needs in order to believe the numbers and to ask the student as it was trained. It names no
address: neither the store, nor the files of rows, nor the teacher's endpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from llm2llm.api.base import dump_identity
from llm2llm.kubeyaml import dump
from llm2llm.loop.outcomes import describe_iteration
from llm2llm.plaintext import plain, plain_lines
from llm2llm.records import POOL, Metric, digest_of
from llm2llm.report import summary
from llm2llm.report.collect import Contents, Iteration
from llm2llm.results.student import StudentRecord
from llm2llm.tasks.presets import expand_preset

_HUB = "hf://"
_PAPER = "[arXiv 2403.15042](https://arxiv.org/abs/2403.15042)"


def model_card(contents: Contents, record: StudentRecord) -> str:
    """Returns the card of a student: what it was trained on, how it scored, what it cost, and how it is loaded."""
    iteration = _iteration(contents, record)
    adapter = record.part == "adapter"
    front: dict[str, Any] = {}
    if record.model_uri.startswith(_HUB):  # the Hub knows no other names
        relation = "adapter" if adapter else "finetune"
        front = {"base_model": record.model_uri.removeprefix(_HUB), "base_model_relation": relation}
    front |= {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["llm2llm", *(["lora"] if adapter else [])],
    }
    scores = _scores(contents, iteration)
    if held_out := [score for score in scores if score.dataset not in POOL]:  # it was trained on the others
        front["model-index"] = [{"name": record.run, "results": list(map(_result, held_out))}]
    kind = "A LoRA adapter for" if adapter else "All weights of a student fine-tuned from"
    quantized = ", quantized to 4 bits (nf4, double quantization)" if adapter and record.quantization == "nf4" else ""
    sections = [
        f"# {_text(record.run)}",
        (
            f"{kind} {_base(record)}{quantized}: {describe_iteration(record.iteration)} of an LLM2LLM run ({_PAPER}), "
            "in which a teacher model writes new examples like those that the student gets wrong."
        ),
        "## Scores",
        *_score_table(scores),
        *_doubts(contents, record),
        "## How to ask it",
        *_usage(record),
        "## What it was trained on",
        *_origins(contents, iteration),
        "## How it was made",
        *_provenance(contents, record, iteration),
    ]
    return _card(front, sections)


def dataset_card(contents: Contents, record: StudentRecord, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the card of the rows that a student was trained on."""
    sources = Counter("seed" if row.get("source") == "seed" else "teacher" for row in rows)
    sizes = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6))
    front = {
        "tags": ["llm2llm", *(["synthetic"] if sources["teacher"] else [])],
        "task_categories": ["text-generation"],
        "size_categories": [next((name for name, limit in sizes if len(rows) < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": "train.jsonl"}],
    }
    columns = dict.fromkeys(name for row in rows for name in row)
    sections = [
        f"# Training rows of {_text(record.run)}",
        (
            f"The {len(rows):,} rows that {describe_iteration(record.iteration)} of an LLM2LLM run ({_PAPER}) was "
            "trained on: the seed rows, and those that a teacher model wrote for the student's mistakes. The evaluation"
            " and test rows are not among them."
        ),
        "## What it was made of",
        *_origins(contents, _iteration(contents, record)),
        (
            f"Columns: {', '.join(f'`{plain(name)}`' for name in columns)}. `source` is `seed` or the name of the "
            "teacher; `seed` is the id of the seed row that a row was written for, `iteration` the round that wrote it."
        ),
        "## How it was made",
        *_provenance(contents, record, _iteration(contents, record)),
    ]
    return _card(front, sections)


def _card(front: Mapping[str, Any], sections: Iterable[str]) -> str:
    return f"---\n{dump(dict(front))}---\n\n" + "\n\n".join(sections) + "\n"


def _iteration(contents: Contents, record: StudentRecord) -> Iteration:
    return next(each for each in contents.iterations if each.index == record.iteration)


def _base(record: StudentRecord) -> str:
    if not record.model_uri.startswith(_HUB):
        return f"a base model that is not on the Hub ({record.model_revision or 'of an unknown revision'})"
    name = record.model_uri.removeprefix(_HUB)
    at = f" at revision `{record.model_revision}`" if record.model_revision else ""
    return f"[{name}](https://huggingface.co/{name}){at}"


def _scores(contents: Contents, iteration: Iteration) -> list[Metric]:
    """Returns the scores of an iteration on its sets, and those on the test set if it is the best."""
    best = contents.best is not None and contents.best.iteration == iteration.index
    return [*(iteration.evaluate.metrics if iteration.evaluate else ()), *(contents.test if best else ())]


def _result(score: Metric) -> dict[str, Any]:
    """Returns a score as `model-index` has it."""
    rows = f"{score.dataset} rows of the run ({score.examples:,})"
    interval = f"95 % interval {summary.share(score.low)} to {summary.share(score.high)}"
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": "private", "name": rows, "split": score.dataset},
        "metrics": [
            {"type": score.name, "value": round(score.value, 4), "name": f"{score.name}, {interval}", "verified": False}
        ],
    }


def _score_table(scores: Sequence[Metric]) -> Iterator[str]:
    if not scores:
        yield "It has not been scored."
        return
    lines = ["| rows | metric | score | 95 % interval | n |", "|---|---|---|---|---|"]
    lines += [
        f"| {score.dataset} | {score.name} | {summary.share(score.value)} | {summary.share(score.low)} to "
        f"{summary.share(score.high)} | {score.examples:,} |"
        for score in scores
    ]
    yield "\n".join(lines)
    yield (
        "The seed rows were trained on. The best iteration was chosen by the evaluation rows, or by the seed rows "
        "where there are none. The test rows, where there are any, were scored last: theirs is the number to report."
    )


def _doubts(contents: Contents, record: StudentRecord) -> Iterator[str]:
    if contents.best is None or contents.best.iteration != record.iteration:
        yield "This is not the best iteration of its run."
        return
    yield _text(summary.verdict(contents))
    if warnings := summary.warnings(contents):
        yield "\n".join(f"- {_text(warning)}" for warning in warnings)


def _usage(record: StudentRecord) -> Iterator[str]:
    template = expand_preset(record.settings).prompt_template
    chat = record.settings.chat_template == "Auto"
    turn = "; where the tokenizer has a chat template, that is the user's turn" if chat else ""
    yield f"A prompt is this Jinja template (`prompt_template.jinja`) over the fields of a row{turn}:"
    yield "\n".join(f"    {line}" for line in plain_lines(template).splitlines())
    yield (
        "An answer is decoded greedily and ends with the tokenizer's EOS token. `llm2llm serve FOLDER`, for a folder "
        "with these files, does all of that and shows the lines to ask it with."
    )
    if record.part == "model":
        yield (
            "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            "model = AutoModelForCausalLM.from_pretrained(NAME)  # this repository or folder\n"
            "tokenizer = AutoTokenizer.from_pretrained(NAME)\n```"
        )
    elif record.quantization == "nf4":
        yield "Load it on its base in 4 bits: `BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', ...)`."
    else:
        yield (
            "```python\nfrom peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n"
            "model = AutoPeftModelForCausalLM.from_pretrained(NAME)  # this repository or folder\n"
            "tokenizer = AutoTokenizer.from_pretrained(NAME)\n```"
        )


def _origins(contents: Contents, iteration: Iteration) -> Iterator[str]:
    """Yields which rows were trained on, by their origin."""
    resolved = contents.inputs.resolved if contents.inputs else None
    rounds = [each for each in contents.iterations if each.index < iteration.index and each.generate]
    lines = ["| origin | rows |", "|---|---|"]
    lines += [f"| seed rows | {resolved.seed_count:,} |"] if resolved else []
    teacher = _text(contents.spec.generate.teacher.model)
    lines += [f"| {teacher}, in {describe_iteration(each.index)} | {len(each.kept):,} |" for each in rounds]
    yield "\n".join([*lines, f"| in this training | {iteration.train.train_examples:,} |"])
    if resolved:
        digests = {"frozen inputs": resolved.inputs_digest, "frozen evaluation rows": resolved.evaluation_digest}
        digests |= {f"file of {name} rows": digest for name, digest in (resolved.sources or {}).items()}
        yield "\n".join(f"- {name}: `{digest}`" for name, digest in digests.items() if digest)


def _provenance(contents: Contents, record: StudentRecord, iteration: Iteration) -> Iterator[str]:
    spec, usage = contents.spec, summary.usage(contents.iterations)
    train, tokens = spec.train, usage.teacher_input_tokens + usage.teacher_output_tokens
    hyperparameters = train.hyperparameters
    facts = {
        "training": f"{train.method}{f' of rank {train.lora.r}' if train.method != 'Full' else ''}, "
        f"{iteration.train.optimizer_steps:,} optimizer steps of {hyperparameters.effective_batch_size} rows, learning "
        f"rate {hyperparameters.learning_rate}, random seed {spec.random_seed}",
        "iterations": f"{len(contents.iterations)}, of which this is {describe_iteration(record.iteration)}",
        "teacher": f"{_text(spec.generate.teacher.model)}, {usage.teacher_requests:,} requests, {tokens:,} tokens",
        "cost": _text(summary.price(contents)) or "the run has no prices",
        "GPU hours": summary.gpu_hours(contents),
        "digest of the spec": f"`{digest_of(dump_identity(spec))}`",
        "output of the training": f"`{record.digest}`",
        "written by": f"llm2llm-operator {version('llm2llm-operator')}",
    }
    yield "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if fact)


def _text(text: str) -> str:
    """Returns a text of others as one line that Markdown shows as it is."""
    return plain(text).replace("|", "\\|").replace("<", "&lt;")

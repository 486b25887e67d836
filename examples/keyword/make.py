"""Makes the data of the keyword example: `python examples/keyword/make.py --out DIR [--seed N]`.

Writes DIR/model (the base model and its tokenizer), DIR/seed.jsonl (240 rows) and DIR/evaluation.jsonl (2,000 rows),
the same bytes every time. Pretraining takes a minute or two, so the model is kept in a cache outside the checkout,
named by the digest of everything that it depends on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from task import LABELS, Sentence, evaluation_set, seed_set

HERE = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Generate the data of the keyword example.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="number of the seed set (default 0)")
    arguments = parser.parse_args(argv)
    make(arguments.out, arguments.seed)
    return 0


def make(out: Path, seed: int) -> None:
    """Writes the base model and both sets below `out`; what is there already is replaced."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(cached_base_model(), out / "model", dirs_exist_ok=True)
    (out / "seed.jsonl").write_text(_rows("seed", seed_set(seed)))
    (out / "evaluation.jsonl").write_text(_rows("evaluation", evaluation_set()))


def cached_base_model() -> Path:
    """Folder of the base model, pretrained now unless it was before."""
    folder = _cached_folder()
    if is_cached():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    print("pretraining the base model (once; takes a minute or two)", file=sys.stderr)
    os.environ.setdefault("TQDM_DISABLE", "1")  # a progress bar for one shard of half a megabyte
    from base_model import write_base_model

    made = Path(tempfile.mkdtemp(prefix="keyword-", dir=folder.parent))
    write_base_model(made)
    _readable_by_all(made)
    try:
        made.rename(folder)
    except OSError:  # somebody else was faster; theirs has the same bytes
        shutil.rmtree(made)
    return folder


def is_cached() -> bool:
    """Whether the base model has been pretrained before."""
    return _cached_folder().exists()


def _cached_folder() -> Path:
    return cache_folder() / f"keyword-{_digest()}"


def _readable_by_all(folder: Path) -> None:
    folder.chmod(0o755)  # it was made as a private temporary folder
    for file in folder.iterdir():
        file.chmod(0o644)


def cache_folder() -> Path:
    """`$LLM2LLM_CACHE`, or `llm2llm` in the user's cache folder."""
    if chosen := os.environ.get("LLM2LLM_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm2llm"


def _digest() -> str:
    digest = hashlib.sha256()
    for name in ("task.py", "base_model.py"):
        digest.update((HERE / name).read_bytes())
    for package in ("torch", "transformers", "tokenizers"):
        digest.update(f"{package}=={version(package)}\n".encode())
    return digest.hexdigest()[:16]


def _rows(prefix: str, sentences: Iterable[Sentence]) -> str:
    rows = (
        {"id": f"{prefix}-{number:04d}", "prompt": sentence.text, "completion": LABELS[sentence.label]}
        for number, sentence in enumerate(sentences)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())

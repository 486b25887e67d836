"""A beginner's desk: tickets in a CSV, a manifest, a student, a teacher; and what `llm2llm` says to whoever sits there.

The commands run in this process. The student has a tokenizer, a config and the header of its weights, which is all that
Prepare reads; training is where `begin_training` says that it was reached.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import yaml

from llm2llm.cli.main import main
from llm2llm.errors import Terminated
from tests.support import keyword
from tests.support.chatserver import ChatServer

LABELS = ("Billing", "Delivery", "Returns", "Technical")
FIELDS = {"subject": "Subject", "body": "Message", "completion": "Queue"}
HEADER = ("ticket_id", "Subject", "Message", "Queue")
KEY = "sk-proj-4Vq81xW0ZtEr"
"""The teacher's key; no message may show it."""
TRAINING = "training was reached"
WORDS = (
    ("Invoice", "the amount on my invoice is wrong by"),
    ("Parcel", "my parcel has not arrived since day"),
    ("Refund", "I sent the shoes back and wait for order"),
    ("Login", "the app shows an error at login with code"),
)


def ticket(number: int) -> tuple[str, str, str, str]:
    """One row of the CSV."""
    subject, text = WORDS[number % len(LABELS)]
    return f"T-{10000 + number}", f"{subject} {number}", f"{text} {number * 37}", LABELS[number % len(LABELS)]


@dataclass
class Said:
    """What a command wrote and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Desk:
    """Files in a folder, and the commands over them. `rows`, `files` and `spec` are changed by what makes a mistake."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    teacher: ChatServer
    rows: list[Sequence[str]] = field(default_factory=lambda: [HEADER, *map(ticket, range(120))])
    spec: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    raw: str = ""
    """The manifest as text, where it is no YAML."""
    data: bytes | None = None
    """The content of the CSV, in place of `rows`."""

    def __post_init__(self) -> None:
        self.spec = {
            "maxIterations": 2,
            "task": {
                "promptTemplate": "Subject: {{ subject }} {{ body }} Queue:",
                "grader": {"type": "Choice"},
                "labels": list(LABELS),
            },
            "data": {
                "seed": {"uri": self.csv.as_uri(), "fields": dict(FIELDS)},
                "evaluation": {"fromSeed": {"count": 60}},
            },
            "student": {"model": {"uri": (self.folder / "model").as_uri()}},
            "artifacts": {"uri": "s3://unused/runs"},
            "generate": {
                "teacher": {
                    "model": "my-teacher",
                    "baseUrl": self.teacher.base_url,
                    "apiKeySecretRef": {"name": "teacher", "key": "api-key"},
                }
            },
        }
        self.arguments = ["--workdir", str(self.folder / "out"), "--secret", "teacher/api-key=MY_KEY"]

    @property
    def csv(self) -> Path:
        return self.folder / "tickets.csv"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def replace(self, old: str, new: str) -> None:
        """Changes the text of the manifest."""
        assert old in self.manifest()
        self.raw = self.manifest().replace(old, new, 1)

    def set(self, path: str, value: Any) -> Self:
        """Changes a field below spec; None removes it."""
        *parents, last = path.split(".")
        target = self.spec
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
        if value is None:
            del target[last]
        return self

    def manifest(self) -> str:
        document = {"apiVersion": "llm2llm.dev/v1alpha1", "kind": "AugmentationRun", "metadata": {"name": "tickets"}}
        return self.raw or yaml.safe_dump({**document, "spec": self.spec}, sort_keys=False)

    def write(self) -> Path:
        """Writes the files, and returns the manifest's path."""
        path = self.folder / "run.yaml"
        path.write_text(self.manifest())
        self.csv.write_bytes(as_csv(self.rows) if self.data is None else self.data)
        return path

    def validate(self) -> Said:
        return self._call(["validate", str(self.write())])

    def prepare(self) -> Self:
        """Runs as far as training, so that the inputs are frozen."""
        assert self.run().code == Terminated.exit_code
        return self

    def has(self, content: bytes) -> Self:
        """Gives the CSV this content, in place of its rows."""
        self.data = content
        return self

    def run(self) -> Said:
        return self._call(["run", str(self.write()), *self.arguments])

    def _call(self, arguments: list[str]) -> Said:
        self.capsys.readouterr()
        code = main(arguments)
        out, err = self.capsys.readouterr()
        return Said(code, out, err)


def as_csv(rows: Sequence[Sequence[str]], separator: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def write_model(folder: Path) -> None:
    """A student's folder: all that Prepare reads of it."""
    words = [*keyword.WORDS[:3], *LABELS, "other", *map(str, range(10))]
    keyword.write_tokenizer(folder, words)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(words),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(keyword.NO_WEIGHTS)


def workbook(part: str) -> bytes:
    """A zip archive with one file in it, as spreadsheets are."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(part, "<x/>")
    return archive.getvalue()


def without_training() -> ModuleType:
    """A stage Train that says that it was reached, and needs no torch."""

    def run(*_: object) -> None:
        raise Terminated(TRAINING)

    module = ModuleType("llm2llm.stages.train")
    module.run = run  # type: ignore[attr-defined]
    return module


def good_row(body: Mapping[str, Any]) -> tuple[int, Any]:
    """Writes a row of the fields that the request names."""
    question = body["messages"][-1]["content"]
    number = len(question) + sum(map(ord, question)) % 9973
    names = re.findall(r'"(\w+)"', question.rpartition("keys ")[2]) or ["ready"]
    return 200, json.dumps({name: f"a new {name} about matter {number}" for name in names})


def stop_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm2llm.stages.train", without_training())

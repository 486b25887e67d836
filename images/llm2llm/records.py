"""The documents that pass between processes: rows, predictions, the step, the report and the manifest.

Everything that crosses a border (a pod's environment, a termination message, an object in the store) is one of these
types, with a schema version, so that an operator and an image of neighboring releases understand each other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

STEP_VERSION = 1
REPORT_VERSION = 1
MANIFEST_VERSION = 1
REPORT_LIMIT = 4096
"""Bytes of a report: a kubelet keeps at most this much of a termination message."""
STEP_LIMIT = 64 * 1024
"""Bytes of a step document: it travels in one environment variable."""
ACCURACY = "accuracy"
MACRO_F1 = "macroF1"
POOL = ("seed", "probe", "synthetic")
"""Datasets of an evaluation whose mistakes the teacher writes for."""


class Record(BaseModel):
    """Frozen, camelCase outside, snake_case inside; unknown fields of a newer writer are ignored."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", allow_inf_nan=False
    )

    def to_json(self) -> str:
        """Compact JSON with sorted keys: equal records have equal bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))


class Stage(StrEnum):
    """What a step does; also the word in Job names and paths, lowercased."""

    PREPARE = "Prepare"
    TRAIN = "Train"
    EVALUATE = "Evaluate"
    GENERATE = "Generate"
    TEST = "Test"


class Kind(StrEnum):
    """Run does the work of a step; Collect only prints the report of a step that is committed already."""

    RUN = "Run"
    COLLECT = "Collect"


class Lineage(Record):
    """Where a synthetic row comes from.

    Attributes:
        seed: id of the seed row that it goes back to, over however many rounds.
        parent: id of the row that it was written for.
        wave: of the round, from 0.
        teacher: name of the model that wrote it.
        scores: of the filters.
    """

    seed: str
    parent: str
    iteration: int = 0
    sample: int = 0
    wave: int = 0
    teacher: str = ""
    prompt_digest: str = ""
    request_key: str = ""
    scores: dict[str, Any] = Field(default_factory=dict)


class Example(Record):
    """One row of a seed, evaluation or synthetic set: `fields` are rendered by the task, `completion` is the answer."""

    id: str
    fields: dict[str, str]
    completion: str
    lineage: Lineage | None = None

    @property
    def root(self) -> str:
        """Id of the seed row that this row goes back to, over however many rounds; a seed row's own id."""
        return self.lineage.seed if self.lineage else self.id


class Prediction(Record):
    """What the student answered to one row. `verdict` is one of correct, wrong, noAnswer, truncated."""

    id: str
    output: str
    answer: str | None = None
    correct: bool
    verdict: str


class Metric(Record):
    """A number with the size of its sample and its 95 % interval; `dataset` is one of POOL, evaluation or test.

    The interval is Wilson's for an accuracy and a bootstrap's for a macro-F1 (stages/scores.py).
    """

    name: str
    dataset: str
    value: float = Field(ge=0, le=1)
    examples: int = Field(ge=0)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Paired(Record):
    """How many rows of a set this iteration got right that an earlier one got wrong (gained), and the reverse (lost).

    `examples` are the rows that both were asked.
    """

    against: int = Field(ge=0)
    dataset: str
    examples: int = Field(ge=1)
    gained: int = Field(ge=0)
    lost: int = Field(ge=0)


class Usage(Record):
    """What a step spent, over all its attempts as far as the store knows them."""

    teacher_requests: int = Field(default=0, ge=0, le=10**15)
    teacher_input_tokens: int = Field(default=0, ge=0, le=10**15)
    teacher_output_tokens: int = Field(default=0, ge=0, le=10**15)


def total_usage(*usages: Usage) -> Usage:
    """All of them together."""
    return Usage(
        teacher_requests=sum(usage.teacher_requests for usage in usages),
        teacher_input_tokens=sum(usage.teacher_input_tokens for usage in usages),
        teacher_output_tokens=sum(usage.teacher_output_tokens for usage in usages),
    )


class Resolved(Record):
    """What Prepare found out, frozen for the rest of the run."""

    model_revision: str = ""
    engine: str = ""
    seed_count: int = Field(default=0, ge=0)
    evaluation_count: int = Field(default=0, ge=0)
    test_count: int = Field(default=0, ge=0)
    inputs_digest: str = ""
    evaluation_digest: str = ""


class StepDocument(Record):
    """Everything that one attempt needs to know: `LLM2LLM_STEP` (frozen with its Job).

    `parents` maps the folder of each committed output that this step reads (layout.py) to the digest that its report
    told. `micro_batch` is a ceiling after an attempt ran out of GPU memory, 0 for none. `gpu_seconds` is what the
    run has spent so far, for a budget in money.
    """

    version: int = STEP_VERSION
    kind: Kind = Kind.RUN
    stage: Stage
    iteration: int = Field(default=0, ge=0)
    attempt: int = Field(default=0, ge=0)
    namespace: str
    run: str
    run_uid: str
    spec: dict[str, Any]
    parents: dict[str, str] = Field(default_factory=dict)
    micro_batch: int = Field(default=0, ge=0)
    gpu_seconds: int = Field(default=0, ge=0)

    def to_environment(self) -> str:
        r"""The document for a pod's environment: a kubelet expands `$(X)` and `$$`, so `$` is written as \\u0024.

        Raises:
            ValueError: the document is larger than STEP_LIMIT.
        """
        text = self.to_json().replace("$", "\\u0024")
        if len(text.encode()) > STEP_LIMIT:
            raise ValueError(
                f"the step document has {len(text.encode())} bytes, more than the limit of {STEP_LIMIT}: shorten the "
                "spec"
            )
        return text


class Report(Record):
    """The small document that a step ends with, in the termination message and in the manifest."""

    version: int = REPORT_VERSION
    run_uid: str
    stage: Stage
    iteration: int = 0
    attempt: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = Field(default="", max_length=2048)
    digest: str = ""
    metrics: tuple[Metric, ...] = ()
    paired: Paired | None = None
    """Against the iteration to beat, on the set that the objective is judged on (Evaluate; stopping.to_beat)."""
    learned: int = Field(default=0, ge=0, validation_alias=AliasChoices("learned", "learnt"))
    """Seed rows that the iteration before got wrong and this one right; `forgotten` is the reverse."""
    forgotten: int = Field(default=0, ge=0)
    train_examples: int = Field(default=0, ge=0)
    optimizer_steps: int = Field(default=0, ge=0)
    mistakes: int = Field(default=0, ge=0)
    """Rows that the teacher is to write for: wrong ones of the seed set and, where asked, of the synthetic rows."""
    generated: int = Field(default=0, ge=0)
    kept: int = Field(default=0, ge=0)
    micro_batch: int = Field(default=0, ge=0)
    model_uri: str = ""
    usage: Usage = Usage()
    resolved: Resolved | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    """Where the attempt's wall-clock time went, in seconds by part (imports, load, compute, upload)."""

    @field_validator("seconds")
    @classmethod
    def _finite(cls, seconds: dict[str, float]) -> dict[str, float]:
        if any(not math.isfinite(value) or value < 0 for value in seconds.values()):
            raise ValueError("seconds must be finite and not negative")
        return seconds

    def to_termination_message(self) -> str:
        """JSON of at most REPORT_LIMIT bytes: the message is cut first, then the details go."""
        report = self
        for shorter in (self.message[:1024], self.message[:256], ""):
            if len(report.to_json().encode()) <= REPORT_LIMIT:
                return report.to_json()
            report = report.model_copy(update={"message": shorter})
        return report.model_copy(update={"seconds": {}, "metrics": ()}).to_json()


class StoredObject(Record):
    """One object of a step's output: its logical name, where it lies (relative to the run's root), size and sha256."""

    name: str
    key: str
    size: int = Field(ge=0)
    sha256: str


class Manifest(Record):
    """`manifest.json`, written last and once: the commit marker of a step's output.

    `key_fields` are what the content key was computed from, so that a mismatch can name the field.
    """

    version: int = MANIFEST_VERSION
    content_key: str
    key_fields: dict[str, Any]
    parents: dict[str, str]
    objects: tuple[StoredObject, ...]
    digest: str
    report: Report

    def object_named(self, name: str) -> StoredObject:
        """The object with this logical name.

        Raises:
            KeyError: the step has no such output.
        """
        for entry in self.objects:
            if entry.name == name:
                return entry
        raise KeyError(name)


def canonical_json(value: object) -> str:
    """JSON that is the same bytes for the same value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(value: object) -> str:
    """`sha256:<hex>` of a value's canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def output_digest(objects: Iterable[StoredObject]) -> str:
    """The digest of a step's output: its logical names and contents, not where they lie."""
    return digest_of({entry.name: entry.sha256 for entry in objects})


def to_jsonl(records: Iterable[Record]) -> bytes:
    """One record a line, UTF-8, with a final newline."""
    return "".join(record.to_json() + "\n" for record in records).encode()


def examples_from_jsonl(data: bytes) -> Iterator[Example]:
    """Rows of a frozen set (our own format, so a broken line is a damaged object and raises ValueError)."""
    for line in data.splitlines():
        yield Example.model_validate_json(line)


def predictions_from_jsonl(data: bytes) -> Iterator[Prediction]:
    """Rows of a `predictions.*.jsonl`."""
    for line in data.splitlines():
        yield Prediction.model_validate_json(line)

"""Defines the documents that pass between processes: rows, predictions, the step, the report and the manifest.

Everything that crosses a process boundary (a pod's environment, a termination message, an object in the store) has one
of these types, with a schema version, so that an operator and an image of adjacent releases understand each other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from llm2llm.paths import RelativePath
from llm2llm.plaintext import plain

STEP_VERSION = 1
REPORT_VERSION = 1
MANIFEST_VERSION = 1
REPORT_LIMIT = 4096
"""Maximum bytes of a report: a kubelet keeps no more of a termination message."""
STEP_LIMIT = 64 * 1024
"""Maximum bytes of a step document: it is passed in one environment variable."""
ACCURACY = "accuracy"
MACRO_F1 = "macroF1"
POOL = ("seed", "probe", "synthetic")
"""Datasets of an evaluation whose mistakes the teacher writes for."""


COUNT_LIMIT = 10**15
"""Maximum of a count in a report: sums of many still fit into the 64 bits that the status has for them."""
METRICS_LIMIT = 8
SOURCES_LIMIT = 8
NAME_LIMIT = 64
DATASET_LIMIT = 32
DIGEST_LIMIT = 128
URI_LIMIT = 2048
REVISION_LIMIT = 256
ENGINE_LIMIT = 32
REPORT_MESSAGE_LIMIT = 2048
"""What the status of a run (its CRD) has room for: a report that says more could never be recorded."""

Count = Annotated[int, Field(ge=0, le=COUNT_LIMIT)]
Name = Annotated[str, StringConstraints(max_length=NAME_LIMIT)]
Dataset = Annotated[str, StringConstraints(max_length=DATASET_LIMIT)]
Digest = Annotated[str, StringConstraints(max_length=DIGEST_LIMIT)]
PlainText = Annotated[str, AfterValidator(plain)]


class Record(BaseModel):
    """Base of the documents: frozen, camelCase in JSON, snake_case in Python; ignores a newer writer's new fields."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", allow_inf_nan=False
    )

    def to_json(self) -> str:
        """Returns compact JSON with sorted keys: equal records have equal bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))


class Stage(StrEnum):
    """The kinds of steps; the lowercase word is used in Job names and paths."""

    PREPARE = "Prepare"
    TRAIN = "Train"
    EVALUATE = "Evaluate"
    GENERATE = "Generate"
    TEST = "Test"


class Kind(StrEnum):
    """Run does the work of a step; Collect only prints the report of a step that is already committed."""

    RUN = "Run"
    COLLECT = "Collect"


class Lineage(Record):
    """The origin of a synthetic row.

    Attributes:
        seed: id of the seed row that it was written for, over any number of rounds.
        parent: id of the row that it was written for.
        wave: number of the wave in its round, from 0.
        teacher: name of the model that wrote it.
        scores: scores that the filters gave it.
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
    """One row of a seed, evaluation or synthetic set: the task renders `fields`, and `completion` is the answer."""

    id: str
    fields: dict[str, str]
    completion: str
    lineage: Lineage | None = None

    @property
    def root(self) -> str:
        """Id of the seed row that this row was written for, over any number of rounds; a seed row's own id."""
        return self.lineage.seed if self.lineage else self.id


class Prediction(Record):
    """The student's answer to one row. `verdict` is one of correct, wrong, noAnswer, truncated,
    timedOut.
    """

    id: str
    output: str
    answer: str | None = None
    correct: bool
    verdict: str


class Metric(Record):
    """A score with its sample size and 95 % confidence interval; `dataset` is one of POOL, evaluation or test.

    The interval is Wilson's for an accuracy and a bootstrap's for a macro-F1 (tasks/scores.py).
    """

    name: Name
    dataset: Dataset
    value: float = Field(ge=0, le=1)
    examples: Count
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Paired(Record):
    """How many rows of a set this iteration got right that an earlier one got wrong (gained), and the reverse (lost).

    `examples` is the number of rows that both answered.
    """

    against: Count
    dataset: Dataset
    examples: Count = Field(ge=1)
    gained: Count
    lost: Count


class Usage(Record):
    """What a step spent, over all its attempts that the store knows of."""

    teacher_requests: Count = 0
    teacher_input_tokens: Count = 0
    teacher_output_tokens: Count = 0


def total_usage(*usages: Usage) -> Usage:
    """Returns the sum of these usages."""
    return Usage(
        teacher_requests=sum(usage.teacher_requests for usage in usages),
        teacher_input_tokens=sum(usage.teacher_input_tokens for usage in usages),
        teacher_output_tokens=sum(usage.teacher_output_tokens for usage in usages),
    )


class Resolved(Record):
    """What Prepare resolved, frozen for the rest of the run.

    Attributes:
        sources: the digest of each file of rows that was read, by its dataset; None in reports of earlier releases.
    """

    model_revision: str = Field(default="", max_length=REVISION_LIMIT)
    engine: str = Field(default="", max_length=ENGINE_LIMIT)
    seed_count: Count = 0
    evaluation_count: Count = 0
    test_count: Count = 0
    inputs_digest: Digest = ""
    evaluation_digest: Digest = ""
    sources: Annotated[dict[Dataset, Digest], Field(max_length=SOURCES_LIMIT)] | None = None


class StepDocument(Record):
    """Everything that one attempt needs to know: `LLM2LLM_STEP` (frozen with its Job).

    `parents` maps the folder of each committed output that this step reads (layout.py) to the digest in its report.
    `micro_batch` is an upper limit after an attempt ran out of GPU memory, 0 for none. `gpu_seconds` is what the run
    has spent so far, for a budget in money.
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
    """The small document that a step ends with, in the termination message and in the manifest.

    Its bounds are those of the run's status, which records it, and its message is plain text: whatever image wrote it.
    """

    version: int = REPORT_VERSION
    run_uid: str
    stage: Stage
    iteration: Count = 0
    attempt: Count = 0
    exit_code: int = 0
    reason: Name = ""
    message: PlainText = Field(default="", max_length=REPORT_MESSAGE_LIMIT)
    digest: Digest = ""
    metrics: tuple[Metric, ...] = Field(default=(), max_length=METRICS_LIMIT)
    paired: Paired | None = None
    """Comparison with the iteration to beat, on the set of the objective (Evaluate; stopping.reference_iteration)."""
    learned: Count = Field(default=0, validation_alias=AliasChoices("learned", "learnt"))
    """Seed rows that the previous iteration got wrong and this one right; `forgotten` is the reverse."""
    forgotten: Count = 0
    train_examples: Count = 0
    optimizer_steps: Count = 0
    mistakes: Count = 0
    """Rows that the teacher is to write for: wrong ones of the seed set and, if configured, of the synthetic rows."""
    generated: Count = 0
    kept: Count = 0
    micro_batch: Count = 0
    model_uri: str = Field(default="", max_length=URI_LIMIT)
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
        """Returns JSON of at most REPORT_LIMIT bytes: shortens the message first, then drops the details."""
        report = self
        for shorter in (self.message[:1024], self.message[:256], ""):
            if len(report.to_json().encode()) <= REPORT_LIMIT:
                return report.to_json()
            report = report.model_copy(update={"message": shorter})
        return report.model_copy(update={"seconds": {}, "metrics": ()}).to_json()


class StoredObject(Record):
    """One object of a step's output: logical name, key (relative to the run's root), size and sha256."""

    name: RelativePath
    key: RelativePath
    size: int = Field(ge=0)
    sha256: str


class Manifest(Record):
    """`manifest.json`, written last and once: the commit marker of a step's output.

    `key_fields` are what the content key was computed from, so that a mismatch can name the field.
    """

    version: int = MANIFEST_VERSION
    content_key: str
    key_fields: dict[str, Any]
    parents: dict[RelativePath, str]
    objects: tuple[StoredObject, ...]
    digest: str
    report: Report

    @model_validator(mode="after")
    def _digest_of_its_objects(self) -> Self:
        """Believes no digest: whoever exchanges an object and its hash here has changed the output's digest, too."""
        names = {entry.name for entry in self.objects}
        if len(names) < len(self.objects):
            raise ValueError("it lists two objects of one name")
        digest = output_digest(self.objects)
        if not digest == self.digest == self.report.digest:
            raise ValueError(f"it says {self.digest}, but the digest of its objects is {digest}: it was changed")
        return self

    def object_named(self, name: str) -> StoredObject:
        """Returns the object with this logical name.

        Raises:
            KeyError: the step has no such output.
        """
        for entry in self.objects:
            if entry.name == name:
                return entry
        raise KeyError(name)


def canonical_json(value: object) -> str:
    """Returns JSON with the same bytes for the same value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(value: object) -> str:
    """Returns `sha256:<hex>` of a value's canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def output_digest(objects: Iterable[StoredObject]) -> str:
    """Returns the digest of a step's output: of its logical names and contents, not of its keys."""
    return digest_of({entry.name: entry.sha256 for entry in objects})


def to_jsonl(records: Iterable[Record]) -> bytes:
    """Encodes records as UTF-8, one per line, with a final newline."""
    return "".join(record.to_json() + "\n" for record in records).encode()


def examples_from_jsonl(data: bytes) -> Iterator[Example]:
    """Yields the rows of a frozen set; we wrote it, so a broken line is a damaged object and raises ValueError."""
    for line in data.splitlines():
        yield Example.model_validate_json(line)


def predictions_from_jsonl(data: bytes) -> Iterator[Prediction]:
    """Yields the rows of a `predictions.*.jsonl`."""
    for line in data.splitlines():
        yield Prediction.model_validate_json(line)

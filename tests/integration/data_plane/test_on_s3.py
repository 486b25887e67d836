"""Runs that have everything on a real S3 server, step by step through the entry point of a pod."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.data_plane.bench import Bench
from tests.integration.data_plane.test_step import Main
from tests.integration.generation.rounds import KEY, Teacher
from tests.support import keyword

from llm2llm.api.data import Artifacts
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.errors import FAILS_AT_ONCE
from llm2llm.loop.outcomes import StepResult
from llm2llm.loop.steps import next_step
from llm2llm.loop.stopping import Finished
from llm2llm.records import Example, Report, Stage, examples_from_jsonl, predictions_from_jsonl
from llm2llm.step import run_step
from llm2llm.storage import Store, open_store


class OnS3:
    """A run with rows, student and artifacts in a bucket."""

    def __init__(self, bench: Bench, bucket: Store, s3: S3Server, **changes: Any) -> None:
        self.bench, self.bucket, self.s3 = bench, bucket, s3
        self.run = keyword.Run(bench.document(**bench.uploaded(bucket, s3.endpoint) | changes))

    def attempt(self, stage: Stage, **environ: str) -> tuple[int, Report]:
        """One attempt at a step; what it committed is a parent of the next."""
        code, report = Main(self.bench.folder)(self.run.step(stage), **self.s3.keys | environ)
        if code == 0:
            self.run.add(report)
        return code, report

    def opened(self) -> Store:
        """The run's store, by a client of its own."""
        artifacts = Artifacts.model_validate(self.run.document["artifacts"])
        return open_store(f"{artifacts.uri}/team-a/run", artifacts, self.s3.keys)

    def objects(self) -> dict[str, bytes]:
        """All that lies in the run's store but logs, and token ids that any attempt may use."""
        store = self.opened()
        return {key: store.read(key) for key in store.list("") if not key.startswith(("logs/", "cache/"))}

    def frozen(self, name: str) -> list[Example]:
        store, step = self.opened(), keyword.Run(self.run.document).step(Stage.PREPARE)
        manifest = committed_manifest(store, step)
        assert manifest is not None
        return list(examples_from_jsonl(read_object(store, manifest, name)))


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher() as server:
        yield server


def asking(teacher: Teacher) -> dict[str, Any]:
    """The fields of a spec that writes rows with this teacher."""
    secret = {"name": "teacher", "key": "api-key"}
    return {
        "maxIterations": 2,
        "generate__teacher": {"model": "keyword-teacher", "baseUrl": teacher.base_url, "apiKeySecretRef": secret},
    }


def test_fault_32_sources_that_change_later_have_no_effect(bench: Bench, bucket: Store, s3: S3Server) -> None:
    there = OnS3(bench, bucket, s3, student__model__uri=bench.student.as_uri())
    code, first = there.attempt(Stage.PREPARE)
    assert code == 0
    for name in ("seed", "evaluation"):
        bucket.write(f"rows/{name}.jsonl", b"nonsense\n")
    reports = [there.attempt(stage)[1] for stage in (Stage.TRAIN, Stage.EVALUATE)]
    assert Main(bench.folder)(there.run.step(Stage.PREPARE), **s3.keys)[1].digest == first.digest

    run, calm = bench.run("calm")  # of files that do not change
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), calm, bench.context()))
    assert [report.digest for report in (first, *reports)] == [report.digest for report in run.reports]


def test_fault_33_broken_rows_are_told_with_their_lines_and_nothing_is_tried_again(
    bench: Bench, bucket: Store, s3: S3Server
) -> None:
    seeds = keyword.jsonl(keyword.rows(1, 1)) + b'{"text": "cut\n' + keyword.jsonl([{"text": "x", "label": "nolabel"}])
    (bench.folder / "seed.jsonl").write_bytes(seeds)
    (bench.folder / "evaluation.jsonl").write_bytes(b'{"text": "only"}\n')
    there = OnS3(bench, bucket, s3)
    code, report = there.attempt(Stage.PREPARE)

    assert code == report.exit_code == 65
    assert code in FAILS_AT_ONCE
    for words in (
        f"data.seed {bucket.uri}/rows/seed.jsonl has 2 broken rows: line 21: invalid JSON",
        "line 22: the completion 'nolabel' is none of spec.task.labels",
        f"data.evaluation {bucket.uri}/rows/evaluation.jsonl has 1 broken row: line 1: no field 'label'",
    ):
        assert words in report.message
    assert there.objects() == {}


def test_fault_33_a_run_with_no_mistakes_left_is_complete_and_warns_of_an_evaluation_set_that_lags(
    bench: Bench, bucket: Store, s3: S3Server, teacher: Teacher
) -> None:
    (bench.folder / "seed.jsonl").write_bytes(keyword.jsonl(keyword.rows(16, 1, classes=1)))
    train = {**keyword.TRAIN, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 40}}
    there = OnS3(bench, bucket, s3, **asking(teacher), train=train)
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE):
        code, report = there.attempt(stage, LLM2LLM_TEACHER_API_KEY=KEY)
        assert code == 0, report.message
    spec = AugmentationRunSpec.model_validate(there.run.document)
    ended = next_step(spec, [StepResult.of(report) for report in there.run.reports])

    assert isinstance(ended, Finished)
    assert ended.reason == "NoMistakes"
    assert "accuracy on the evaluation set is 0.050: the student may have memorized" in ended.message
    assert teacher.stats()["requests"] == 1  # Prepare's


@pytest.mark.parametrize(("fault", "key"), [("none", "wrong-key"), ("403", KEY)], ids=["401", "403"])
def test_fault_34_a_refused_teacher_key_is_told_after_one_request(
    bench: Bench, bucket: Store, s3: S3Server, teacher: Teacher, fault: str, key: str
) -> None:
    teacher.fault(kind=fault, count=-1)
    there = OnS3(bench, bucket, s3, **asking(teacher))
    code, report = there.attempt(Stage.PREPARE, LLM2LLM_TEACHER_API_KEY=key)

    assert (code, report.reason) == (66, "AuthenticationFailed")
    assert "check Secret teacher, key api-key" in report.message
    assert teacher.stats()["requests"] == 1
    assert there.objects() == {}


HOSTILE = [
    "{{ 7 * 7 }} {% for x in range(10 ** 9) %} {{ cycler.__init__.__globals__ }}",
    "$(HOME) $$ ${HOME} `id`",
    "\x1b[2J\x07 \x7f",
    "a\r\n\u2028b\u202e",
    "</s> <|im_start|>system [INST] <sep> <eos>",
    "x" * 1_000_000,
    '"\\"',
]


def test_fault_48_hostile_rows_are_data_in_every_step(bench: Bench, bucket: Store, s3: S3Server) -> None:
    rows = [{"text": text, "label": "label00"} for text in HOSTILE]
    (bench.folder / "seed.jsonl").write_bytes(keyword.jsonl(rows))
    there = OnS3(bench, bucket, s3)
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE):
        code, report = there.attempt(stage)
        assert code == 0, report.message

    frozen = there.frozen("seed.jsonl")
    assert [row.fields["text"] for row in frozen] == HOSTILE
    manifest = committed_manifest(there.opened(), there.run.step(Stage.EVALUATE))
    assert manifest is not None
    answered = predictions_from_jsonl(read_object(there.opened(), manifest, "predictions.seed.jsonl"))
    assert [row.id for row in answered] == [row.id for row in frozen]


def test_fault_48_what_cannot_be_data_is_refused_with_its_line(bench: Bench, bucket: Store, s3: S3Server) -> None:
    good = json.dumps({"text": "w001", "label": "label00"}).encode()
    broken = {
        2: (b'{"text": "caf\xe9", "label": "label00"}', "invalid UTF-8"),
        3: (b'{"text": ' + b"[" * 200_000, "JSON is nested too deeply"),
        5: (b'{"text": "\\u0000", "label": "label00"}', "NUL"),
        6: (b'{"text": "' + b"w001 " * 350_000 + b'", "label": "label00"}', "350001 tokens"),
        7: (b'{"text": "\\ud800", "label": "label00"}', "surrogate"),
    }
    lines = [broken[number][0] if number in broken else good for number in range(1, 9)]
    (bench.folder / "seed.jsonl").write_bytes(b"\n".join(lines))
    there = OnS3(bench, bucket, s3)
    code, report = there.attempt(Stage.PREPARE)

    assert (code, report.reason) == (65, "InvalidData")
    assert f"{bucket.uri}/rows/seed.jsonl has 5 broken rows: " in report.message
    for number, (_, words) in broken.items():
        assert words in report.message.partition(f"line {number}: ")[2].partition("; line")[0]
    assert there.objects() == {}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: as on a disk that is full by then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("size", "here", "words"),
    [
        pytest.param(100_000, False, "student/model.safetensors: [Errno 27]", id="while the student is fetched"),
        pytest.param(40_000, True, "(os error 27)", id="while the adapter is written"),
    ],
)
def test_fault_47_a_full_disk_is_transient_and_leaves_the_bucket_as_it_was(
    bench: Bench, bucket: Store, s3: S3Server, size: int, here: bool, words: str
) -> None:
    there = OnS3(bench, bucket, s3, **({"student__model__uri": bench.student.as_uri()} if here else {}))
    there.attempt(Stage.PREPARE)
    before = there.objects()
    with room_for(size):
        code, report = there.attempt(Stage.TRAIN)

    assert (code, report.reason) == (75, "Transient")
    assert words in report.message
    assert "check the disk's free space and permissions" in report.message
    assert there.objects() == before


def test_fault_47_scratch_that_cannot_be_written_is_transient_and_leaves_the_bucket_as_it_was(
    bench: Bench, bucket: Store, s3: S3Server
) -> None:
    there = OnS3(bench, bucket, s3)
    there.attempt(Stage.PREPARE)
    before = there.objects()
    (bench.folder / "no-folder").write_bytes(b"")
    code, report = there.attempt(Stage.TRAIN, LLM2LLM_SCRATCH=str(bench.folder / "no-folder"))

    assert code == 75
    assert "no-folder" in report.message
    assert there.objects() == before


def test_fault_50_a_pod_that_comes_back_after_another_committed_tells_the_others_report(
    bench: Bench, bucket: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = OnS3(bench, bucket, s3)
    there.attempt(Stage.PREPARE)
    step, late, won = there.run.step(Stage.TRAIN), there.opened(), list[Report]()
    create = late.create

    def overtaken(key: str, data: bytes) -> bool:
        won.append(run_step(step, there.opened(), bench.context("pod-b", environ=s3.keys)))
        return create(key, data)

    monkeypatch.setattr(late, "create", overtaken)
    told = run_step(step, late, bench.context("pod-a", environ=s3.keys))
    manifest = committed_manifest(there.opened(), step)

    assert [told] == won
    assert "/pod-b/" in told.model_uri
    assert manifest is not None
    assert manifest.report == told
    assert all("/pod-b/" in entry.key for entry in manifest.objects)
    assert all(read_object(late, manifest, entry.name) for entry in manifest.objects)

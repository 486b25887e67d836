"""Rows and a model that are edited after a run began: the command says so, instead of showing the old scores."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.local.workplace import Workplace, digests, run
from tests.support.teacher import Teacher

from llm2llm.storage import Store


class Begun:
    """A run that has ended, over files of its own."""

    def __init__(self, workplace: Workplace, out: Path, teacher: Teacher, *further: str) -> None:
        self.data = workplace.data
        self.out = out
        self.teacher = teacher
        self.command = workplace.command(out, teacher, *further)
        done = run(self.command)
        assert done.returncode == 0, done.stderr
        self.end = done.stdout.splitlines()[-4:]
        self.digests = digests(out)
        self.requests = teacher.stats()["requests"]

    @property
    def root(self) -> Path:
        return next(self.out.glob("*/*/run.json")).parent

    def again(self) -> str:
        """Runs it again, which changes nothing; returns what it says before its result."""
        done = run(self.command)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-4:] == self.end
        assert digests(self.out) == self.digests
        assert self.teacher.stats()["requests"] == self.requests
        return done.stdout

    def refused(self) -> str:
        """Runs it again, which is refused; returns the message."""
        done = run(self.command)
        assert done.returncode == 70, done.stdout
        assert not any(line in done.stdout for line in self.end)
        assert digests(self.out) == self.digests
        return done.stderr


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher() as server:
        yield server


@pytest.fixture
def copied(workplace: Workplace, tmp_path: Path) -> Workplace:
    """The example's data, for a test to edit."""
    return Workplace(Path(shutil.copytree(workplace.data, tmp_path / "data")))


def drop_row(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.turns("local: sources")
def test_fault_66_sources_that_were_edited_are_named_and_restored_ones_are_the_same(
    copied: Workplace, teacher: Teacher, tmp_path: Path
) -> None:
    begun = Begun(copied, tmp_path / "out", teacher)
    seed, model = copied.data / "seed.jsonl", copied.data / "model"
    before = seed.read_text()
    drop_row(seed)
    message = begun.refused()
    assert f"{seed.as_uri()} (spec.data.seed) has changed since this run began: restore it, or use another" in message
    advice = f"spec.reuseFrom: [{{uri: {begun.root.as_uri()}}}]"
    assert advice in message

    other = copied.command(tmp_path / "other", teacher, "--set", advice.replace(": ", "=", 1))
    advised = run(other)
    assert advised.returncode == 0, advised.stderr
    assert digests(tmp_path / "other") != begun.digests
    assert teacher.stats()["repeated"] <= 1  # the probe of Prepare
    begun.requests = teacher.stats()["requests"]

    seed.write_text(before)
    for path in (seed, *model.iterdir()):
        os.utime(path)
    assert "cannot be read" not in begun.again()

    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"of": "another"}))
    assert f"{model.as_uri()} (spec.student.model) has changed since this run began" in begun.refused()


@pytest.mark.turns("local: sources")
def test_rows_that_are_gone_are_frozen_and_the_run_goes_on(copied: Workplace, teacher: Teacher, tmp_path: Path) -> None:
    begun = Begun(copied, tmp_path / "out", teacher, "--set", "spec.maxIterations=1")
    (copied.data / "seed.jsonl").unlink()
    lines = [line for line in begun.again().splitlines() if "cannot be read" in line]
    assert len(lines) == 1
    assert "seed.jsonl does not exist" in lines[0]
    more = run(copied.command(begun.out, teacher))
    assert more.returncode == 0, more.stderr
    assert "all 2 iterations are done" in more.stdout


def test_a_work_folder_of_an_earlier_release_goes_on(copied: Workplace, teacher: Teacher, tmp_path: Path) -> None:
    begun = Begun(copied, tmp_path / "out", teacher, "--set", "spec.maxIterations=1")
    path = begun.root / "inputs" / "manifest.json"
    manifest = json.loads(path.read_text())
    recorded = manifest["report"]["resolved"].pop("sources")
    assert recorded.keys() == {"seed", "evaluation", "test"}
    path.write_text(json.dumps(manifest))
    drop_row(copied.data / "seed.jsonl")
    begun.again()


@pytest.mark.turns("local: sources")
def test_rows_and_a_model_in_a_bucket_are_compared_too(
    copied: Workplace, teacher: Teacher, tmp_path: Path, s3: S3Server, bucket: Store
) -> None:
    for path in (copied.data / "seed.jsonl", *(copied.data / "model").iterdir()):
        bucket.upload(path.relative_to(copied.data).as_posix(), path)
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"kind": "Secret", "metadata": {"name": "s3"}, "stringData": s3.keys}))
    settings = {
        "maxIterations": "1",
        "artifacts.endpoint": s3.endpoint,
        "artifacts.pathStyle": "true",
        "artifacts.credentialsSecretRef": "{name: s3}",
        "data.seed.uri": f"{bucket.uri}/seed.jsonl",
        "student.model.uri": f"{bucket.uri}/model",
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"spec.{name}={value}")]
    begun = Begun(copied, tmp_path / "out", teacher, str(secret), *sets)
    bucket.write("seed.jsonl", bucket.read("seed.jsonl"))
    begun.again()
    bucket.write("model/config.json", bucket.read("model/config.json") + b"\n")
    assert f"{bucket.uri}/model (spec.student.model) has changed" in begun.refused()
    bucket.write("model/config.json", bucket.read("model/config.json")[:-1])
    bucket.write("seed.jsonl", bucket.read("seed.jsonl") + b"\n")
    assert f"{bucket.uri}/seed.jsonl (spec.data.seed) has changed" in begun.refused()

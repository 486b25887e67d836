"""`llm2llm run`: the whole loop in one process, stopped in every way and continued."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.cluster.s3 import S3Server
from tests.integration.local.workplace import Whole, Workplace, digests, environment, run
from tests.support.commands import Command, start_command
from tests.support.keyword import EXAMPLE
from tests.support.teacher import Teacher

CONCURRENCY = 8


def answers(folder: Path, prompts: list[str]) -> list[str]:
    """Answers as anybody's program does that loads a model with transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for text in prompts:
        prompt = tokenizer(text, return_tensors="pt").input_ids
        written = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8)
        found.append(str(tokenizer.decode(written[0, prompt.shape[1] :], skip_special_tokens=True)))
    return found


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher(latency=0.05) as server:
        yield server


def test_a_run_tells_its_iterations_and_the_best_adapter(whole: Whole):
    lines = whole.told.splitlines()
    rows = [line for line in lines if line.startswith("iteration ") and "accuracy" in line]
    assert [row.split(",")[0] for row in rows] == ["iteration 0", "iteration 0", "iteration 1"]
    assert "MaxIterationsReached: all 2 iterations are done" in lines
    adapter = next(line for line in lines if line.startswith("adapter: ")).removeprefix("adapter: file://")
    assert (Path(adapter) / "adapter_model.safetensors").exists()
    assert any(line.startswith("digest: sha256:") for line in lines)
    best = next(line for line in lines if line.startswith("best: ")).removeprefix("best: ").split(",")[0]
    assert any(line.startswith(f"test set, {best}: accuracy ") and "200 rows" in line for line in lines)


def test_the_best_student_merged_into_its_base_gives_the_answers_that_it_was_scored_by(whole: Whole, tmp_path: Path):
    done = run(["fetch", str(whole.out), str(tmp_path / "merged"), "--merged", "--precision", "fp32"])
    assert done.returncode == 0, done.stderr
    assert "merged into file://" in done.stdout
    [evaluated, *_] = sorted(whole.out.glob("*/*/iterations/001/evaluate/data/*/predictions.evaluation.jsonl"))
    best = next(line for line in whole.told.splitlines() if line.startswith("best: "))
    assert "iteration 1" in best
    told = {row["id"]: row["output"] for row in map(json.loads, evaluated.read_text().splitlines())}
    [frozen] = whole.out.glob("*/*/inputs/data/*/evaluation.jsonl")
    rows = [json.loads(line) for line in frozen.read_text().splitlines()]
    answered = answers(tmp_path / "merged", [f"{row['fields']['prompt']} <sep>" for row in rows])
    assert dict(zip((row["id"] for row in rows), answered, strict=True)) == told
    assert len(set(told.values())) > 5


def test_all_answers_are_exported_with_their_rows_and_the_lines_of_the_user_s_files(
    workplace: Workplace, whole: Whole, tmp_path: Path
):
    done = run(["export", str(whole.out), str(tmp_path / "answers.jsonl"), "--predictions"])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    files = {"seed": "seed.jsonl", "evaluation": "few.jsonl", "test": "others.jsonl"}
    for name, file in files.items():
        lines = list(map(json.loads, (workplace.data / file).read_text().splitlines()))
        answered = [row for row in rows if row["set"] == name]
        assert len(answered) == len(lines)
        for row in answered:
            assert {field: row[field] for field in ("id", "prompt")} | {"completion": row["label"]} == lines[
                row["line"] - 1
            ]
    accuracy = sum(row["correct"] for row in rows if row["set"] == "test") / len(lines)
    assert f"accuracy {accuracy:.3f} " in next(line for line in whole.told.splitlines() if "test set" in line)


def test_check_does_the_first_step_alone_and_keeps_nothing(workplace: Workplace, teacher: Teacher, tmp_path: Path):
    command = ["check", *workplace.command(tmp_path / "out", teacher)[1:]]
    place = command.index("--workdir")
    done = run(command[:place] + command[place + 2 :], TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "rows: 80 seed, 200 evaluation, 200 test" in done.stdout
    assert "the first training takes" in done.stdout
    assert "the run can start; this check used 1 request and " in done.stdout
    assert teacher.stats()["answered"] == 1
    assert list(tmp_path.iterdir()) == []


def test_preview_shows_what_is_sent_and_received_and_keeps_nothing(
    workplace: Workplace, teacher: Teacher, tmp_path: Path
):
    command = ["preview", *workplace.command(tmp_path / "out", teacher, "-n", "2")[1:]]
    place = command.index("--workdir")
    command = command[:place] + command[place + 2 :]
    done = run(command, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the teacher writes (kept; ") == 2, done.stdout
    assert "<sep>" in done.stdout
    assert "the run can start" in done.stderr
    assert teacher.stats()["answered"] == 3  # check's own row, too
    assert list(tmp_path.iterdir()) == []
    rows = json.loads(run([*command, "-o", "json"]).stdout)
    assert [row["verdict"] for row in rows] == ["kept", "kept"]
    assert rows[0]["promptTokens"] > 5


def test_check_says_all_that_stands_in_the_way_at_once(workplace: Workplace, teacher: Teacher, tmp_path: Path):
    command = [
        "check",
        *workplace.command(tmp_path / "out", teacher, "--set", "spec.student.model.uri=file:///none")[1:],
    ]
    place = command.index("--workdir")
    done = run(command[:place] + command[place + 2 :], KEYWORD_KEY="wrong", TMPDIR=str(tmp_path))
    assert done.returncode == 64
    assert "check spec.student.model.uri" in done.stderr
    assert "refused the key (401)" in done.stderr
    assert "again: steps that are done" not in done.stderr


def test_the_teacher_was_paid_for_each_row_and_the_probe(whole: Whole):
    manifest = json.loads(next(whole.out.glob("*/*/iterations/000/generate/manifest.json")).read_text())
    assert whole.paid == manifest["report"]["usage"]["teacherRequests"] + 1


def test_with_its_own_filters_the_run_would_keep_what_it_kept(whole: Whole):
    manifest = json.loads(next(whole.out.glob("*/*/iterations/000/generate/manifest.json")).read_text())
    done = run(["refilter", str(whole.out), "-f", str(EXAMPLE), "-o", "json"])
    assert done.returncode == 0, done.stderr
    [first] = json.loads(done.stdout)
    assert (first["answers"], first["kept"]) == (manifest["report"]["generated"], manifest["report"]["kept"])
    assert (first["wouldKeep"], first["changes"]) == (first["kept"], [])
    assert not done.stderr


def test_the_same_command_again_does_nothing_and_tells_the_same(workplace: Workplace, whole: Whole, teacher: Teacher):
    before = digests(whole.out)
    again = run(workplace.command(whole.out, teacher))
    assert again.returncode == 0
    assert again.stdout.splitlines()[-4:] == whole.told.splitlines()[-4:]
    assert teacher.stats()["requests"] == 0
    assert digests(whole.out) == before


def wait_for(out: Path, pattern: str, process: Command) -> None:
    while process.alive() and not any(out.glob(pattern)):
        time.sleep(0.02)


@pytest.mark.turns("local: runs that stop")
def test_interrupted_it_goes_on_and_ends_with_the_same_bytes(
    workplace: Workplace, whole: Whole, teacher: Teacher, tmp_path: Path
):
    out = tmp_path / "out"
    command = workplace.command(out, teacher)
    ends = []
    for pattern in ("*/*/inputs/manifest.json", "*/*/iterations/000/generate/ledger/*/000002.jsonl"):
        process = start_command(command, log=tmp_path / "run.log", env=environment())
        wait_for(out, pattern, process)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        ends.append(process.wait(60))
    assert ends == [143, 143]
    last = run(command)
    assert last.returncode == 0, last.stderr
    assert teacher.stats()["repeated"] == 0
    assert teacher.stats()["answered"] == whole.paid
    assert digests(out) == digests(whole.out)


@pytest.mark.turns("local: runs that stop")
def test_killed_while_generating_it_repeats_no_more_than_was_in_flight(
    workplace: Workplace, whole: Whole, teacher: Teacher, tmp_path: Path
):
    out = tmp_path / "out"
    command = workplace.command(out, teacher)
    process = start_command(command, log=tmp_path / "run.log", env=environment())
    wait_for(out, "*/*/iterations/000/generate/ledger/*/000001.jsonl", process)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert run(command).returncode == 0
    assert teacher.stats()["repeated"] <= CONCURRENCY
    assert digests(out) == digests(whole.out)


def test_another_experiment_in_the_same_folder_is_refused_by_field(
    workplace: Workplace, whole: Whole, teacher: Teacher
):
    before = digests(whole.out)
    refused = run(workplace.command(whole.out, teacher, "--set", "spec.train.lora.r=16"))
    assert refused.returncode == 70
    assert "spec.train.lora.r was 8, is now 16" in refused.stderr
    assert digests(whole.out) == before


def test_an_operational_field_may_change_and_the_run_goes_on(workplace: Workplace, whole: Whole, teacher: Teacher):
    more = run(workplace.command(whole.out, teacher, "--set", "spec.generate.limits.maxConcurrentRequests=1"))
    assert more.returncode == 0
    assert teacher.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("key", "told"),
    [("wrong", "refused the key (401): check Secret teacher, key api-key"), ("", "the teacher's key is missing")],
)
def test_a_wrong_key_ends_before_anything_is_trained(
    workplace: Workplace, teacher: Teacher, tmp_path: Path, key: str, told: str
):
    refused = run(workplace.command(tmp_path, teacher), KEYWORD_KEY=key)
    assert refused.returncode == 66
    assert told in refused.stderr
    assert not digests(tmp_path)


def test_report_shows_what_is_in_the_folder(whole: Whole):
    command = ["report", str(whole.out)]
    shown = run(command, COLUMNS="120")
    assert shown.returncode == 0
    assert "default/keyword" in shown.stdout
    assert "accuracy" in shown.stdout


def test_the_same_run_on_s3_ends_with_the_same_digests(
    workplace: Workplace, whole: Whole, teacher: Teacher, tmp_path: Path
):
    with S3Server() as s3:
        s3.create_bucket("bucket")
        (tmp_path / "secret.yaml").write_text(
            json.dumps(
                {
                    "kind": "Secret",
                    "metadata": {"name": "s3"},
                    "stringData": {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key},
                }
            )
        )
        artifacts = {"uri": "s3://bucket/runs", "endpoint": s3.endpoint, "region": "us-east-1", "pathStyle": "true"}
        further = [part for name, value in artifacts.items() for part in ("--set", f"spec.artifacts.{name}={value}")]
        command = workplace.command(tmp_path, teacher, *further)
        place = command.index("--workdir")
        command[place : place + 2] = [str(tmp_path / "secret.yaml")]
        done = run(command)
        assert done.returncode == 0, done.stderr
        found = digests(s3.folder / "objects" / "bucket" / "runs")
    assert found == digests(whole.out)

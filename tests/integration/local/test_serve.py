"""`llm2llm serve` of a run that has trained, and of what `fetch` brought from it, asked over HTTP."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.processes import spawn, stop, wait_until
from tests.integration.local.workplace import Whole, Workplace, environment, run
from tests.support.commands import start_command

from llm2llm.teacher.local import free_port

EVERY = 4


@contextmanager
def served(target: Path, folder: Path) -> Iterator[str]:
    """Serves a student; yields what it printed, and ends it as a user does."""
    log, errors = folder / "serve.log", folder / "serve.err"
    arguments = ["serve", str(target), "--port", "0"]
    process = start_command(arguments, log=log, errors=errors, env=environment())
    try:
        wait_until("the endpoint", lambda: "/v1/" in log.read_text() or not process.alive(), (), timeout=120)
        assert process.alive(), errors.read_text()
        yield log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, errors.read_text()
    finally:
        process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def recorded(whole: Whole) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
    """Row id to the fields of an evaluation row, and what the best student is recorded to have said to it."""
    assert "best: iteration 1" in whole.told
    [frozen] = whole.out.glob("*/*/inputs/data/*/evaluation.jsonl")
    [predictions] = whole.out.glob("*/*/iterations/001/evaluate/data/*/predictions.evaluation.jsonl")
    rows, told = (list(map(json.loads, path.read_text().splitlines())) for path in (frozen, predictions))
    return {row["id"]: (row["fields"], answer) for row, answer in zip(rows, told, strict=True)}


def ask(curl: str, body: dict[str, Any]) -> dict[str, Any]:
    """Runs a line that was printed for a shell, with another body."""
    *command, _ = shlex.split(curl)
    done = subprocess.run([*command, json.dumps(body)], check=True, capture_output=True, text=True, timeout=60)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("target", ["the run", "the adapter", "the merged model"])
def test_a_row_gets_the_answer_that_it_had_when_the_student_was_scored(
    whole: Whole, recorded: dict[str, tuple[dict[str, str], dict[str, Any]]], tmp_path: Path, target: str
):
    place = whole.out
    if target != "the run":
        place = tmp_path / "student"
        options = ["--merged", "--precision", "fp32"] if target == "the merged model" else []
        fetched = run(["fetch", str(whole.out), str(place), *options])
        assert fetched.returncode == 0, fetched.stderr
    with served(place, tmp_path) as told:
        assert re.match(r"default/keyword, iteration 1, on .*: http://127\.0\.0\.1:\d+\n", told)
        assert "not for production" in told
        predict, complete = re.findall(r"curl .*", told)
        subprocess.run(["bash", "-c", f"{predict} | grep -q label"], check=True, timeout=60)
        assert "choices" in subprocess.run(["bash", "-c", complete], check=True, capture_output=True, text=True).stdout
        for fields, answer in list(recorded.values())[::EVERY]:
            found = ask(predict, fields)
            assert (found["answer"], found["label"]) == (answer["output"], answer.get("answer"))
            assert found["truncated"] is (answer["verdict"] == "truncated")
            assert found["prompt"] == f"{fields['prompt']} <sep>"
    assert len({answer["output"] for _, answer in recorded.values()}) > 5


@pytest.mark.turns("engines")
@pytest.mark.vllm
def test_vllm_started_as_the_manifest_says_gives_the_answers_that_the_student_was_scored_by(
    workplace: Workplace, whole: Whole, recorded: dict[str, tuple[dict[str, str], dict[str, Any]]], tmp_path: Path
):
    printed = run(["serve", str(whole.out), "--manifest", "vllm"])
    deployment = next(yaml.safe_load_all(printed.stdout))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [adapter] = whole.out.glob("*/*/iterations/001/train/data/*/adapter")
    here = {"/mnt/student/base": str(workplace.data / "model"), "/mnt/student/adapter": str(adapter)}
    port = free_port()
    arguments = [f"--model={container['command'][2]}", *container["args"], f"--port={port}", "--enforce-eager"]
    for there, place in here.items():
        arguments = [argument.replace(there, place) for argument in arguments]
    changes = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HOME": str(tmp_path)}
    server = spawn(
        "vllm", [sys.executable, "-m", "llm2llm.teacher.local", *arguments], folder=tmp_path, env=environment(**changes)
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until("vLLM", lambda: answers(url), [server], timeout=300)
        for fields, told in list(recorded.values())[::EVERY]:
            body = {"model": "keyword", "prompt": f"{fields['prompt']} <sep>"}
            found = ask(f"curl -s {url}/v1/completions -H 'Content-Type: application/json' -d ''", body)
            assert found["choices"][0]["text"].strip() == told["output"]
    finally:
        stop([server])


def answers(url: str) -> bool:
    """Returns whether a server says that it is healthy."""
    return subprocess.run(["curl", "-sf", f"{url}/health"], check=False, timeout=30).returncode == 0


def test_the_manifest_names_what_only_this_machine_has(whole: Whole):
    printed = run(["serve", str(whole.out), "--manifest", "vllm"])
    assert printed.returncode == 0, printed.stderr
    assert "#   fill-in-base-uri: s3:// address of a copy of the base" in printed.stdout
    assert "--max-lora-rank=8" in printed.stdout

"""`generate.mode: Local`: the teacher is a vLLM inside the step, and a round is the round that it is with an endpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.generation import rounds
from tests.support.stubvllm import write_bare_model, write_stub

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError, StepError, Terminated, Transient
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.teacher_endpoint import TEACHER, resolve_teacher
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, Store

MISTAKES = 4
ROWS = 3 * MISTAKES


def local_spec(model: Path, **options: Any) -> dict[str, Any]:
    spec: dict[str, Any] = rounds.spec_for("http://nobody/v1", concurrency=4)
    spec["generate"]["mode"] = "Local"
    spec["generate"]["teacher"] = {"model": "tiny", "source": {"uri": model.as_uri()}, **options}
    return spec


def resolved(spec: dict[str, Any], context: StepContext) -> bytes:
    parsed = AugmentationRunSpec.model_validate(spec)
    assert parsed.generate.teacher.source
    return resolve_teacher(parsed, parsed.generate.teacher.source, LocalStore(context.scratch / "artifacts"), context)


def prepared(folder: Path, model: Path, environ: dict[str, str], **options: Any) -> tuple[Store, Step, StepContext]:
    spec = local_spec(model, **options)
    context = rounds.context_for("pod-a", folder, {**os.environ, **environ})
    store, step = rounds.prepared(folder / "store", spec, MISTAKES, {TEACHER: resolved(spec, context)})
    return store, step, context


def stubbed(folder: Path, stub: str = "", *, missing: bool = False) -> tuple[Store, Step, StepContext]:
    path = write_stub(folder / "stub", missing=missing)
    return prepared(
        folder, write_bare_model(folder / "model"), {"PYTHONPATH": f"{path}:{rounds.ROOT / 'images'}", "STUB": stub}
    )


def servers(folder: Path) -> set[int]:
    """Processes that serve a teacher whose weights lie in this folder."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes()
            if b"llm2llm.teacher.local" in command and str(folder).encode() in command:
                found.add(int(process.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.fixture(autouse=True)
def _no_child_stays(tmp_path: Path) -> Iterator[None]:
    yield
    assert servers(tmp_path) == set()


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_round_by_a_real_vllm_is_paid_once_and_filtered_like_any_other(tmp_path: Path):
    from tests.support.chatmodel import write_chat_model

    write_chat_model(tmp_path / "model")
    environ = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "TEACHER_TIMEOUT_SECONDS": "300"}
    store, step, context = prepared(tmp_path, tmp_path / "model", environ, parameters={"max_tokens": "600"})
    told: list[str] = []
    context.progress = lambda event: told.append(str(event.get("message", "")))
    report = run_step(step, store, context)
    # Random weights under a grammar: every answer that ends in time is an object with a sentence of nonsense.
    assert report.kept > 0
    assert report.generated >= ROWS
    assert report.usage.teacher_requests == report.generated
    assert report.usage.teacher_output_tokens > 10 * report.generated
    row = rounds.rows(store, "synthetic.jsonl")[0]
    assert (row["lineage"]["teacher"], row["lineage"]["iteration"]) == ("tiny", 0)
    assert any("the teacher is starting" in line for line in told)

    synthetic = rounds.output(store, "synthetic.jsonl")
    store.delete("iterations/000/generate/manifest.json")
    told.clear()
    run_step(step, store, context)
    assert rounds.output(store, "synthetic.jsonl") == synthetic
    assert not any("starting" in line for line in told)  # nothing had to be asked: no vLLM was started


@pytest.mark.parametrize("stub", ["", pytest.param("no-system", id="a chat template without the role system")])
def test_the_whole_online_way_works_against_the_child(tmp_path: Path, stub: str):
    store, step, context = stubbed(tmp_path, stub)
    report = run_step(step, store, context)
    assert report.kept == ROWS
    assert report.usage.teacher_requests == ROWS
    assert report.usage.teacher_output_tokens == 5 * ROWS


@pytest.mark.parametrize("replaced", [False, pytest.param(True, id="whose weights were replaced since")])
def test_fault_49_a_round_of_a_local_teacher_is_copied_unless_its_weights_are_others(tmp_path: Path, *, replaced: bool):
    model = write_bare_model(tmp_path / "model")
    environ = {**os.environ, "PYTHONPATH": f"{write_stub(tmp_path / 'stub')}:{rounds.ROOT / 'images'}"}
    first, step = rounds.prepared(tmp_path / "first", local_spec(model), MISTAKES)
    assert run_step(step, first, rounds.context_for("pod-a", tmp_path, environ)).usage.teacher_requests == ROWS
    if replaced:
        (model / "weights.safetensors").write_bytes(b"other")
    spec = {**local_spec(model), "reuseFrom": [{"uri": first.uri}]}
    second, step = rounds.prepared(tmp_path / "second", spec, MISTAKES)
    report = run_step(step, second, rounds.context_for("pod-b", tmp_path, environ))
    assert (report.kept, report.usage.teacher_requests) == (ROWS, ROWS if replaced else 0)
    assert (rounds.output(second, TEACHER) == rounds.output(first, TEACHER)) != replaced


@pytest.mark.parametrize(
    ("stub", "missing", "error", "words"),
    [
        pytest.param("out-of-memory", False, Transient, "CUDA out of memory", id="one that ends while it starts"),
        pytest.param("", True, ConfigurationError, "spec.generate.image", id="an image without vLLM"),
    ],
)
def test_a_child_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, stub: str, missing: bool, error: type[StepError], words: str
):
    store, step, context = stubbed(tmp_path, stub, missing=missing)
    with pytest.raises(error, match=words):
        run_step(step, store, context)


def test_a_child_that_dies_in_the_round_is_transient_and_what_it_wrote_is_kept(tmp_path: Path):
    store, step, context = stubbed(tmp_path, "dies")
    with pytest.raises(Transient, match="an illegal memory access was encountered"):
        run_step(step, store, context)
    assert context.usage.teacher_requests >= 5
    again = rounds.context_for("pod-b", tmp_path, {**context.environ, "STUB": ""})
    assert run_step(step, store, again).kept == ROWS
    ledger = rounds.rows(store, "ledger.jsonl")
    assert len({entry["key"] for entry in ledger}) == ROWS


def test_a_stop_while_it_starts_ends_the_child(tmp_path: Path):
    store, step, context = stubbed(tmp_path, "never-ready")

    def stop_when_it_starts(event: Mapping[str, object]) -> None:
        if "the teacher is starting" in str(event.get("message", "")):
            assert servers(tmp_path)
            context.stopping.set()

    context.progress = stop_when_it_starts
    with pytest.raises(Terminated):
        run_step(step, store, context)
    assert not servers(tmp_path)


def test_fault_46_the_child_of_a_killed_step_ends_too(tmp_path: Path):
    assert not servers(tmp_path)
    _, step, context = stubbed(tmp_path, "never-ready")
    store = tmp_path / "store"
    process = rounds.worker(store, step, "pod-z", store, context.environ)
    log = store / "teacher" / "vllm.log"
    while process.alive() and not (log.exists() and b"loading" in log.read_bytes()):
        time.sleep(0.05)
    assert servers(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 10
    while servers(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert not servers(tmp_path)


def test_a_teacher_that_changed_since_prepare_is_not_asked(tmp_path: Path):
    store, step, context = stubbed(tmp_path)
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(StepError, match="has changed since the run started"):
        run_step(step, store, context)

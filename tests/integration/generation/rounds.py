"""A generation round to run: a store with committed parents, a step, and the keyword teacher as a process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from tests.cluster.podspec import expand
from tests.support.steps import document_of

from llm2llm.artifacts.commit import commit
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Example, Prediction, Report, Stage, StepDocument, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore, Store

ROOT = Path(__file__).resolve().parents[3]
KEYWORD = ROOT / "examples" / "keyword"
KEY = "demo-key"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def keyword_task() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keyword_task", KEYWORD / "task.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["keyword_task"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Teacher:
    """The teacher server of the example, over HTTP."""

    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        return self._call("/stats")

    def fault(self, **fault: Any) -> None:
        self._call("/faults", fault)

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with _OPENER.open(f"http://127.0.0.1:{self.port}{path}", data, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@contextmanager
def teacher_server(*arguments: str) -> Iterator[Teacher]:
    command = [sys.executable, str(KEYWORD / "teacher.py"), "--api-key", KEY, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Teacher(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()


def spec_for(teacher: Teacher, *, concurrency: int = 8, samples: int = 3, parameters: Mapping[str, str] | None = None):
    document = yaml.safe_load((KEYWORD / "run.yaml").read_text())
    spec: dict[str, Any] = document["spec"]
    spec["generate"]["teacher"]["baseUrl"] = teacher.base_url
    spec["generate"]["teacher"]["parameters"] = dict(parameters or {})
    spec["generate"]["limits"]["maxConcurrentRequests"] = concurrency
    spec["generate"]["examplesPerMistake"] = samples
    return spec


def seed_rows() -> list[Example]:
    task = keyword_task()
    return [
        Example(id=f"seed-{n:04d}", fields={"prompt": sentence.text}, completion=task.LABELS[sentence.label])
        for n, sentence in enumerate(task.seed_set(0))
    ]


def evaluation_rows() -> list[Example]:
    task = keyword_task()
    return [
        Example(id=f"evaluation-{n:04d}", fields={"prompt": sentence.text}, completion=task.LABELS[sentence.label])
        for n, sentence in enumerate(task.evaluation_set())
    ]


def prepared(
    folder: Path | Store, spec: Mapping[str, Any], mistakes: int = 20, frozen: Mapping[str, bytes] | None = None
) -> tuple[Store, Step]:
    """A store in which the first `mistakes` of every third seed row were answered wrongly, and the step to run."""
    store = LocalStore(folder) if isinstance(folder, Path) else folder
    seeds = seed_rows()
    wrong = {seed.id for seed in seeds[::3][:mistakes]}
    predictions = [
        Prediction(
            id=seed.id,
            output="label19" if seed.id in wrong else seed.completion,
            correct=seed.id not in wrong,
            verdict="wrong" if seed.id in wrong else "correct",
        )
        for seed in seeds
    ]
    inputs = _commit(
        store,
        _step(spec, Stage.PREPARE, {}),
        {"seed.jsonl": to_jsonl(seeds), "evaluation.jsonl": to_jsonl(evaluation_rows()), **(frozen or {})},
    )
    evaluated = _commit(
        store,
        _step(spec, Stage.EVALUATE, {INPUTS: inputs}),
        {"predictions.seed.jsonl": to_jsonl(predictions)},
    )
    parents = {INPUTS: inputs, step_folder(Stage.EVALUATE, 0): evaluated}
    return store, _step(spec, Stage.GENERATE, parents)


def _step(spec: Mapping[str, Any], stage: Stage, parents: Mapping[str, str]) -> Step:
    return Step.of(
        StepDocument(
            stage=stage, namespace="default", run="keyword", run_uid="uid", spec=dict(spec), parents=dict(parents)
        )
    )


def _commit(store: Store, step: Step, files: Mapping[str, bytes]) -> str:
    context = StepContext(pod_uid="pod-0", scratch=Path())
    return commit(store, step, context, files, Report(run_uid="uid", stage=step.stage)).digest


def context_for(pod: str, folder: Path, environ: Mapping[str, str] | None = None) -> StepContext:
    return StepContext(
        pod_uid=pod,
        scratch=folder,
        environ={"LLM2LLM_TEACHER_API_KEY": KEY, **(environ or {})},
        progress=lambda _: None,
    )


def rows(store: Store, name: str) -> list[dict[str, Any]]:
    """Rows of an output of the committed generation step."""
    manifest = json.loads(store.read("iterations/000/generate/manifest.json"))
    key = next(entry["key"] for entry in manifest["objects"] if entry["name"] == name)
    return [json.loads(line) for line in store.read(key).splitlines()]


def output(store: Store, name: str) -> bytes:
    manifest = json.loads(store.read("iterations/000/generate/manifest.json"))
    key = next(entry["key"] for entry in manifest["objects"] if entry["name"] == name)
    return store.read(key)


def worker(
    folder: Path | Store, step: Step, pod: str, environ: Mapping[str, str], stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """The stage as a process of its own, which a test can kill; a kubelet has expanded its environment."""
    uri = folder.as_uri() if isinstance(folder, Path) else folder.uri
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.generation.worker", uri, pod],
        cwd=ROOT,
        env={
            **environ,
            "PYTHONPATH": f"{ROOT / 'images'}:{ROOT}",
            "LLM2LLM_STEP": expand(document_of(step).to_environment(), environ),
            "LLM2LLM_TEACHER_API_KEY": KEY,
        },
        stdout=stdout,
    )

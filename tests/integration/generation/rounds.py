"""A generation round to run: a store with committed parents, a step, and the keyword teacher as a process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.podspec import expand
from tests.cluster.processes import Child, spawn
from tests.support import keyword
from tests.support.steps import document_of
from tests.support.teacher import KEY, Teacher

from llm2llm.artifacts.commit import commit
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Example, Prediction, Report, Stage, StepDocument, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore, Store

ROOT = keyword.CHECKOUT


def spec_for(
    teacher: Teacher | str, *, concurrency: int = 8, samples: int = 3, parameters: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The example's spec with this teacher, or with one at this address."""
    document = yaml.safe_load((keyword.EXAMPLE / "run.yaml").read_text())
    spec: dict[str, Any] = document["spec"]
    spec["generate"]["teacher"]["baseUrl"] = teacher if isinstance(teacher, str) else teacher.base_url
    spec["generate"]["teacher"]["parameters"] = dict(parameters or {})
    spec["generate"]["limits"]["maxConcurrentRequests"] = concurrency
    spec["generate"]["examplesPerMistake"] = samples
    return spec


def seed_rows() -> list[Example]:
    return _examples("seed", keyword.task.seed_set(0))


def evaluation_rows() -> list[Example]:
    return _examples("evaluation", keyword.task.evaluation_set())


def _examples(prefix: str, sentences: Iterable[Any]) -> list[Example]:
    return [
        Example(id=f"{prefix}-{n:04d}", fields={"prompt": sentence.text}, completion=keyword.LABELS[sentence.label])
        for n, sentence in enumerate(sentences)
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


def worker(place: Path | Store, step: Step, pod: str, scratch: Path, environ: Mapping[str, str]) -> Child:
    """Starts the stage as a process of its own, which a test can kill; a kubelet has expanded its environment.

    Its log and what it needs while it runs lie in `scratch`.
    """
    uri = place.as_uri() if isinstance(place, Path) else place.uri
    path = [str(ROOT / "images"), str(ROOT), environ.get("PYTHONPATH", "")]
    return spawn(
        pod,
        [sys.executable, "-m", "tests.integration.generation.worker", uri, pod, str(scratch)],
        folder=scratch,
        cwd=ROOT,
        env={
            "LLM2LLM_TEACHER_API_KEY": KEY,
            **environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "LLM2LLM_STEP": expand(document_of(step).to_environment(), environ),
        },
    )

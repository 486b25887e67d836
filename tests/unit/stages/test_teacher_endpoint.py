"""What Prepare finds out of a local teacher without its weights, and whom a generation step asks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.stubvllm import write_bare_model

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import manifest_in
from llm2llm.errors import ConfigurationError
from llm2llm.loop.stages import INPUTS
from llm2llm.podenv import TEACHER_KEY
from llm2llm.records import Report, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.teacher_endpoint import TEACHER, freeze_teacher, has_same_teacher, open_teacher, resolve_teacher
from llm2llm.storage import LocalStore


def local_spec(model: Path, **options: Any) -> dict[str, Any]:
    teacher = {"model": "tiny", "source": {"uri": model.as_uri()}}
    return builders.spec(generate={"mode": "Local", "teacher": teacher, **options})


def context(folder: Path) -> StepContext:
    return StepContext("pod-a", folder, environ={TEACHER_KEY: "of the Secret"})


def resolved(folder: Path, spec: dict[str, Any]) -> bytes:
    parsed = AugmentationRunSpec.model_validate(spec)
    assert parsed.generate.teacher.source
    return resolve_teacher(parsed, parsed.generate.teacher.source, LocalStore(folder / "artifacts"), context(folder))


def test_prepare_resolves_the_source_and_sends_nothing(tmp_path: Path):
    model = write_bare_model(tmp_path / "model")
    document = json.loads(resolved(tmp_path, local_spec(model)))
    assert document["uri"] == model.as_uri()
    assert document["revision"].startswith("sha256:")
    (model / "weights.safetensors").write_bytes(b"other")
    assert json.loads(resolved(tmp_path, local_spec(model)))["revision"] != document["revision"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param("tokenizer_config.json", "{}", "has no chat template", id="no chat template"),
        pytest.param("tokenizer.json", None, "has no tokenizer", id="no tokenizer"),
        pytest.param("config.json", None, "has no config.json: check spec.generate.teacher.source", id="no config"),
        pytest.param(
            "weights.safetensors", None, "has no .* weights, .* check spec.generate.teacher.source", id="no weights"
        ),
        pytest.param("config.json", "{}", "names no architecture", id="a config of nothing"),
        pytest.param("config.json", '{"architect', "config.json cannot be read: Unterminated", id="half of a config"),
        pytest.param("config.json", "[" * 100_000, "config.json cannot be read: ", id="a config without end"),
        pytest.param("config.json", "[]", "config.json is not a JSON object", id="a config that is a list"),
        pytest.param("tokenizer_config.json", "{", "tokenizer_config.json cannot be read: ", id="half of another file"),
    ],
)
def test_prepare_refuses_a_source_that_could_not_be_served(tmp_path: Path, name: str, content: str | None, words: str):
    model = write_bare_model(tmp_path / "model")
    (model / name).unlink()
    if content is not None:
        (model / name).write_text(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        resolved(tmp_path, local_spec(model))
    assert "spec.generate.teacher.source" in caught.value.message
    assert "spec.student" not in caught.value.message


@pytest.mark.parametrize(
    "heads",
    [
        pytest.param({"num_attention_heads": 6}, id="of a class that nobody knows"),
        pytest.param({"model_type": "gpt2", "n_head": 6}, id="under an own name"),
        pytest.param({"text_config": {"num_attention_heads": 6}}, id="of a multimodal model"),
    ],
)
def test_a_teacher_whose_heads_its_gpus_cannot_share_is_refused_before_its_weights_are_fetched(
    tmp_path: Path, heads: dict[str, Any]
):
    model = write_bare_model(tmp_path / "model")
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **heads}))
    four = {"tensorParallelSize": 4, "resources": {"limits": {"nvidia.com/gpu": "4"}}}
    with pytest.raises(ConfigurationError, match=r"spec\.generate\.tensorParallelSize is 4, but the model's 6"):
        resolved(tmp_path, local_spec(model, **four))


def generation(folder: Path, spec: dict[str, Any], frozen: dict[str, bytes]) -> tuple[LocalStore, Step]:
    """A store with these inputs, and the generation step that reads them."""

    def step(stage: Stage, parents: dict[str, str]) -> Step:
        fields = {"namespace": "ns", "run": "r", "run_uid": "u", "spec": spec}
        return Step.of(StepDocument.model_validate(fields | {"stage": stage, "parents": parents}))

    store = LocalStore(folder / "store")
    prepare = step(Stage.PREPARE, {})
    inputs = commit(store, prepare, context(folder), frozen, Report(run_uid="u", stage=Stage.PREPARE))
    return store, step(Stage.GENERATE, {INPUTS: inputs.digest})


def test_the_endpoint_of_the_spec_is_asked_under_the_teachers_name_with_the_key_of_the_secret(tmp_path: Path):
    spec = builders.spec()
    store, step = generation(tmp_path, spec, {})
    with open_teacher(step.spec, step, store, context(tmp_path), lambda _: None) as endpoint:
        assert endpoint.teacher == step.spec.generate.teacher
        assert endpoint.environ[TEACHER_KEY] == "of the Secret"
        assert endpoint.identity == "t"


def test_a_local_teacher_is_asked_on_loopback_with_a_key_of_its_own_under_the_revision_that_was_frozen(
    tmp_path: Path,
):
    """So answers of other weights under the same name do not stand for its own."""
    model = write_bare_model(tmp_path / "model")
    store, step = generation(tmp_path, local_spec(model), {TEACHER: b'{"revision": "sha256:1"}'})
    told: list[str] = []
    with open_teacher(step.spec, step, store, context(tmp_path), told.append) as endpoint:
        assert str(endpoint.teacher.base_url).startswith("http://127.0.0.1:")
        assert endpoint.environ[TEACHER_KEY] not in ("", "of the Secret")
        assert endpoint.identity == f"tiny {model.as_uri()}@sha256:1"
    assert told == []  # nothing is fetched or started before the first request


def test_the_first_attempt_of_a_round_freezes_the_teacher_and_later_ones_and_rounds_keep_it(tmp_path: Path):
    model = write_bare_model(tmp_path / "model")
    store, first = generation(tmp_path, local_spec(model), {})
    source = first.spec.generate.teacher.source
    assert source
    frozen = freeze_teacher(first, source, store, context(tmp_path))
    (model / "weights.safetensors").write_bytes(b"other")  # as a branch that moves on
    assert freeze_teacher(first, source, store, context(tmp_path)) == frozen
    report = Report(run_uid="u", stage=Stage.GENERATE)
    generated = commit(store, first, context(tmp_path), {TEACHER: frozen, "synthetic.jsonl": b""}, report)
    parents = {**first.parents, "iterations/000/generate": generated.digest}
    second = replace(first, iteration=1, parents=parents)
    assert freeze_teacher(second, source, store, context(tmp_path)) == frozen
    assert not list(store.list("iterations/001/"))


def test_a_run_of_an_earlier_release_keeps_the_teacher_that_prepare_froze(tmp_path: Path):
    model = write_bare_model(tmp_path / "model")
    store, step = generation(tmp_path, local_spec(model), {TEACHER: b'{"revision": "sha256:1"}'})
    source = step.spec.generate.teacher.source
    assert source
    assert freeze_teacher(step, source, store, context(tmp_path)) == b'{"revision": "sha256:1"}'


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        pytest.param({TEACHER: b'{"revision": "sha256:1"}'}, True, id="the same"),
        pytest.param({TEACHER: b'{"revision": "sha256:2"}'}, False, id="another"),
        pytest.param({}, False, id="nobody knows which"),
    ],
)
@pytest.mark.parametrize("place", ["the round", "the inputs, as in earlier releases"])
def test_another_runs_round_is_of_this_runs_teacher_if_both_have_frozen_the_same_revision(
    tmp_path: Path, theirs: dict[str, bytes], place: str, *, same: bool
):
    spec = local_spec(write_bare_model(tmp_path / "model"))
    store, step = generation(tmp_path, spec, {TEACHER: b'{"revision": "sha256:1"}'})
    in_round = place == "the round"
    other, made = generation(tmp_path / "other", spec, {} if in_round else theirs)
    report = Report(run_uid="u", stage=Stage.GENERATE)
    files = {"synthetic.jsonl": b"", **(theirs if in_round else {})}
    commit(other, made, context(tmp_path), files, report)
    manifest = manifest_in(other, made.folder)
    assert manifest is not None
    assert has_same_teacher(step, store, context(tmp_path), other, manifest) == same

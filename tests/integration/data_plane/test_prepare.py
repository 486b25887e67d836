from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.s3 import S3Server
from tests.support import keyword

from llm2llm.api.data import Artifacts
from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.errors import AuthenticationError, ConfigurationError, DataError, IncompatibleArtifacts, StepError
from llm2llm.records import Report, Stage, examples_from_jsonl
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, open_store


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A student whose file of weights has none: Prepare reads its header."""
    folder = tmp_path / "model"
    keyword.write_tokenizer(folder)
    keyword.config().save_pretrained(str(folder))
    (folder / "model.safetensors").write_bytes(keyword.NO_WEIGHTS)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "runs")


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(pod_uid="pod-1", scratch=tmp_path / "scratch")


def document(tmp_path: Path, model: Path, seeds: bytes, held_out: bytes = b"", **changes: Any) -> dict[str, Any]:
    (tmp_path / "seed.jsonl").write_bytes(seeds)
    (tmp_path / "evaluation.jsonl").write_bytes(held_out or keyword.jsonl(keyword.rows(2, 5)))
    return keyword.spec(
        seed_uri=(tmp_path / "seed.jsonl").as_uri(),
        evaluation_uri=(tmp_path / "evaluation.jsonl").as_uri(),
        model_uri=model.as_uri(),
        artifacts_uri=(tmp_path / "runs").as_uri(),
        **changes,
    )


def prepare(spec: dict[str, Any], store: LocalStore, context: StepContext) -> Report:
    return run_step(keyword.Run(spec).step(Stage.PREPARE), store, context)


def test_the_inputs_are_frozen_and_told(tmp_path: Path, model: Path, store: LocalStore, context: StepContext) -> None:
    spec = document(tmp_path, model, keyword.jsonl(keyword.rows(3, 1)))
    report = prepare(spec, store, context)
    manifest = committed_manifest(store, keyword.Run(spec).step(Stage.PREPARE))

    assert manifest is not None
    assert report.resolved is not None
    assert (report.resolved.seed_count, report.resolved.evaluation_count) == (60, 40)
    assert report.resolved.model_revision.startswith("sha256:")
    assert report.resolved.engine == "Transformers"
    rows = list(examples_from_jsonl(read_object(store, manifest, "seed.jsonl")))
    assert [(row.fields, row.completion) for row in rows] == [
        ({"text": row["text"]}, row["label"]) for row in keyword.rows(3, 1)
    ]


def test_all_problems_are_told_at_once(tmp_path: Path, model: Path, store: LocalStore, context: StepContext) -> None:
    seeds = keyword.jsonl(keyword.rows(1, 1)) + b'{"text": "cut\n' + keyword.jsonl([{"text": "x", "label": "nolabel"}])
    held_out = b'{"text": "only"}\n'
    spec = document(tmp_path, model, seeds, held_out, student__model={"uri": (tmp_path / "none").as_uri()})

    with pytest.raises(StepError) as caught:
        prepare(spec | {"maxIterations": 1}, store, context)
    for words in (
        "seed.jsonl has 2 broken rows: line 21: invalid JSON",
        "line 22: the completion 'nolabel' is none of spec.task.labels",
        "evaluation.jsonl has 1 broken row: line 1: no field 'label'",
        "none does not exist or is empty: check spec.student.model.uri",
    ):
        assert words in caught.value.message
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        pytest.param(
            {"train__hyperparameters": {"maxLength": 8}},
            DataError,
            "lines 1, 2, 3, 4, 5 and 15 more: prompt and completion have more tokens than spec.*maxLength 8: the longest row needs 11",
            id="a row that is longer than maxLength",
        ),
        pytest.param(
            {"task__promptTemplate": "{{ nothing }}"},
            ConfigurationError,
            "'nothing' is not a field of the row",
            id="a wrong name",
        ),
        pytest.param(
            {"task__promptTemplate": "Question: {text}"},
            ConfigurationError,
            "spec.task.promptTemplate: uses no field of the row",
            id="braces as Python has them",
        ),
        pytest.param({"task__promptTemplate": "{{"}, ConfigurationError, "spec.task.promptTemplate", id="no template"),
        pytest.param(
            {"data__seed__fields": {"text": "text"}}, ConfigurationError, "'completion' is missing", id="no completion"
        ),
        pytest.param(
            {"evaluate": {"engine": "vLLM", "tensorParallelSize": 4}},
            ConfigurationError,
            "the model's 2 attention heads cannot be divided evenly",
            id="more parts than attention heads",
        ),
        pytest.param({"data__seed__uri": "file:///none.jsonl"}, DataError, "does not exist", id="no file"),
    ],
)
def test_what_cannot_work_is_told_before_a_gpu_is_asked_for(
    changes: dict[str, Any],
    kind: type[Exception],
    words: str,
    tmp_path: Path,
    model: Path,
    store: LocalStore,
    context: StepContext,
) -> None:
    with pytest.raises(kind, match=words):
        prepare(document(tmp_path, model, keyword.jsonl(keyword.rows(1, 1)), **changes), store, context)


@pytest.mark.parametrize(
    ("context_of", "words"),
    [
        pytest.param(
            {"n_positions": 9}, "lines 1, 2, 3, 4, 5 and 15 more: the prompt has 9 tokens, which leaves no room for an answer in the model's context of 9",
            id="the prompt fills the context",
        ),
        pytest.param(
            {"seq_length": 10}, r"lines 1, 2, 3, 4, 5 and 15 more: the prompt \(9 tokens\) and the completion \(2\) exceed the model's context of 10: shorten",
            id="the answer leaves the context",
        ),
        pytest.param({"model_max_length": 9}, "the model's context of 9", id="its tokenizer says so"),
    ],
)  # fmt: skip
def test_a_row_has_to_fit_into_the_models_context_whatever_its_config_calls_it(
    context_of: dict[str, int], words: str, tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    file = model / ("tokenizer_config.json" if "model_max_length" in context_of else "config.json")
    config = json.loads(file.read_text())
    config.pop("max_position_embeddings", None)
    file.write_text(json.dumps(config | context_of))

    with pytest.raises(DataError, match=words):
        prepare(document(tmp_path, model, keyword.jsonl(keyword.rows(1, 1))), store, context)


def test_a_tokenizer_with_a_token_that_the_model_lacks_is_told(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 1}))
    with pytest.raises(ConfigurationError, match="but the model's vocab_size is 1"):
        prepare(document(tmp_path, model, keyword.jsonl(keyword.rows(1, 1))), store, context)


def test_a_model_without_weights_is_told(tmp_path: Path, model: Path, store: LocalStore, context: StepContext) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")

    with pytest.raises(ConfigurationError, match=r"/model has no \*\.safetensors weights"):
        prepare(document(tmp_path, model, keyword.jsonl(keyword.rows(1, 1))), store, context)


def test_a_teacher_of_our_own_is_checked_and_asked_nothing_and_is_no_part_of_the_inputs(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    """So runs that differ in their teacher alone share their trainings by `reuseFrom`."""
    (model / "chat_template.jinja").write_text("{{ messages }}")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))
    local = {"mode": "Local", "teacher": {"model": "m", "source": {"uri": model.as_uri()}}}
    never = {"chatTemplate": "Never"}
    task = {"promptTemplate": "{{ text }} <sep>", "grader": {"type": "Choice"}, "labels": keyword.LABELS, **never}
    seeds = keyword.jsonl(keyword.rows(1, 1))
    spec = document(tmp_path, model, seeds, generate=local, maxIterations=2, task=task)
    report = prepare(spec, store, context)
    assert report.usage.teacher_requests == 0
    other = {"mode": "Local", "teacher": {"model": "another", "source": {"uri": model.as_uri()}}}
    second = prepare(
        document(tmp_path, model, seeds, generate=other, maxIterations=2, task=task),
        LocalStore(tmp_path / "2"),
        context,
    )
    assert second.digest == report.digest

    (model / "chat_template.jinja").unlink()
    with pytest.raises(ConfigurationError, match=r"spec.generate.teacher.source: .* has no chat template"):
        prepare(spec, LocalStore(tmp_path / "other"), context)


def test_evaluation_rows_that_are_seeds_are_dropped_and_told(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    seeds, others = keyword.rows(1, 1), keyword.rows(1, 2)
    shouted = [row | {"text": row["text"].upper() + " "} for row in seeds[:3]]
    report = prepare(document(tmp_path, model, keyword.jsonl(seeds), keyword.jsonl(shouted + others)), store, context)

    assert report.resolved is not None
    assert report.resolved.evaluation_count == len(others)
    assert "3 evaluation rows are also seed rows and were dropped (lines 1, 2, 3); " in report.message


def test_an_evaluation_set_of_seeds_alone_is_refused(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    seeds = keyword.jsonl(keyword.rows(1, 1))

    with pytest.raises(DataError, match=r"every row is also a row of data\.seed"):
        prepare(document(tmp_path, model, seeds, seeds), store, context)


def test_an_architecture_that_nobody_knows_is_told(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    (model / "config.json").write_text(json.dumps({"model_type": "hal9000"}))

    with pytest.raises(ConfigurationError, match="hal9000"):
        prepare(document(tmp_path, model, keyword.jsonl(keyword.rows(1, 1))), store, context)


def test_another_experiment_under_the_same_path_is_named(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    seeds = keyword.jsonl(keyword.rows(1, 1))
    prepare(document(tmp_path, model, seeds), store, context)

    with pytest.raises(IncompatibleArtifacts, match="randomSeed: 7 in this run, 0 in the store"):
        prepare(document(tmp_path, model, seeds, randomSeed=7), store, context)


def sets_of(spec: dict[str, Any], store: LocalStore, context: StepContext) -> dict[str, list[str]]:
    """Texts of the frozen sets by name, after Prepare."""
    prepare(spec, store, context)
    manifest = committed_manifest(store, keyword.Run(spec).step(Stage.PREPARE))
    assert manifest is not None
    return {
        entry.name: [row.fields["text"] for row in examples_from_jsonl(read_object(store, manifest, entry.name))]
        for entry in manifest.objects
        if entry.name.endswith(".jsonl")
    }


def test_a_sample_and_what_is_held_out_of_it_are_the_same_in_every_run_of_a_seed(
    tmp_path: Path, model: Path, context: StepContext
) -> None:
    seeds = keyword.rows(10, 1)
    spec = document(tmp_path, model, keyword.jsonl(seeds))
    spec["data"]["seed"]["sample"] = {"count": 100}
    spec["data"]["evaluation"] = {"fromSeed": {"fraction": "0.2", "stratify": False}}
    spec["data"]["test"] = {"fromSeed": {"count": 10}}
    first = sets_of(spec, LocalStore(tmp_path / "one"), context)
    assert {name: len(rows) for name, rows in first.items()} == {
        "seed.jsonl": 70, "evaluation.jsonl": 20, "test.jsonl": 10,
    }  # fmt: skip
    together = [text for rows in first.values() for text in rows]
    assert len(set(together)) == 100
    assert set(together) < {row["text"] for row in seeds}
    assert sets_of(spec, LocalStore(tmp_path / "two"), context) == first
    other = sets_of(spec | {"randomSeed": 1}, LocalStore(tmp_path / "three"), context)
    assert set(other["seed.jsonl"]) != set(first["seed.jsonl"])


def test_held_out_rows_are_stratified_by_label(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    rows = keyword.rows(10, 1)
    spec = document(tmp_path, model, keyword.jsonl(rows))
    spec["data"]["evaluation"] = {"fromSeed": {"fraction": "0.2"}}
    label_of = {row["text"]: row["label"] for row in rows}
    held_out = [label_of[text] for text in sets_of(spec, store, context)["evaluation.jsonl"]]
    assert sorted(held_out) == sorted(keyword.LABELS * 2)


def test_a_sample_is_stratified_by_label(tmp_path: Path, model: Path, store: LocalStore, context: StepContext) -> None:
    rows = keyword.rows(10, 1)
    held_out = keyword.rows(10, 5)
    spec = document(tmp_path, model, keyword.jsonl(rows), keyword.jsonl(held_out))
    spec["data"]["seed"]["sample"] = {"count": 3 * len(keyword.LABELS)}
    spec["data"]["evaluation"]["sample"] = {"fraction": "0.2"}
    label_of = {row["text"]: row["label"] for row in rows + held_out}
    sets = sets_of(spec, store, context)
    assert sorted(label_of[text] for text in sets["seed.jsonl"]) == sorted(keyword.LABELS * 3)
    assert sorted(label_of[text] for text in sets["evaluation.jsonl"]) == sorted(keyword.LABELS * 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param({"seed": {"sample": {"count": 500}}}, "cannot take 500 rows", id="a sample that is too large"),
        pytest.param({"evaluation": {"fromSeed": {"count": 200}}}, "cannot hold out 200 of the 200 rows of data.seed",
                     id="nothing left to learn from"),
        pytest.param({"seed": {"sample": {"fraction": "0.001"}}}, "spec.data.seed.sample: 0.001 of 200 rows is less than one row",
                     id="a sample of no row"),
        pytest.param({"evaluation": {"fromSeed": {"fraction": "0.001"}}},
                     "spec.data.evaluation.fromSeed: 0.001 of 200 rows is less than one row", id="no row to measure with"),
    ],
)  # fmt: skip
def test_a_share_that_cannot_be_taken_is_told(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext, data: dict[str, Any], words: str
) -> None:
    spec = document(tmp_path, model, keyword.jsonl(keyword.rows(10, 1)))
    spec["data"]["seed"] |= data.get("seed", {})
    spec["data"] |= {name: source for name, source in data.items() if name != "seed"}
    with pytest.raises(DataError) as caught:
        prepare(spec, store, context)
    assert words in caught.value.message


def test_a_known_task_freezes_classes_by_their_names_and_refuses_what_is_none(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    keyword.write_tokenizer(model, [*keyword.WORDS, "ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"])
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 6}))
    rows: list[dict[str, Any]] = [
        {"text": " ".join(keyword.FILLERS[n : n + 5]), "coarse_label": n % 6} for n in range(12)
    ]
    spec = document(tmp_path, model, keyword.jsonl(rows))
    spec["task"] = {"preset": "TREC"}
    spec["data"] = {
        "seed": {"uri": spec["data"]["seed"]["uri"], "fields": {"prompt": "text", "completion": "coarse_label"}},
        "evaluation": {"fromSeed": {"count": 6}},
    }
    prepare(spec, store, context)
    manifest = committed_manifest(store, keyword.Run(spec).step(Stage.PREPARE))
    assert manifest is not None
    frozen = [
        row.completion for name in ("seed.jsonl", "evaluation.jsonl")
        for row in examples_from_jsonl(read_object(store, manifest, name))
    ]  # fmt: skip
    assert sorted(frozen) == sorted(["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"] * 2)

    (tmp_path / "seed.jsonl").write_bytes(keyword.jsonl([*rows, {"text": "w001 w002", "coarse_label": 6}]))
    with pytest.raises(DataError, match=r"line 13: the completion '6' is none of spec\.task\.labels"):
        prepare(spec, LocalStore(tmp_path / "other"), context)


def test_probing_needs_a_seed_row_for_each_fold(
    tmp_path: Path, model: Path, store: LocalStore, context: StepContext
) -> None:
    rows = keyword.rows(1, 1)
    spec = document(tmp_path, model, keyword.jsonl(rows[:3]), errorsFrom="Probe")
    with pytest.raises(
        DataError,
        match=r"spec.errorsFrom: Probe needs at least one seed row for each of the 4 folds, but data.seed has 3",
    ):
        prepare(spec, store, context)
    spec = document(tmp_path, model, keyword.jsonl(rows[:4]), errorsFrom="Probe")
    assert prepare(spec, store, context).exit_code == 0


def test_rows_lie_in_another_store_than_the_artifacts_with_keys_of_its_own(
    tmp_path: Path, model: Path, store: LocalStore, s3: S3Server, prefix: str
) -> None:
    bucket = open_store(f"s3://bucket/{prefix}", Artifacts(uri="s3://bucket", endpoint=s3.endpoint), s3.environment)
    rows = keyword.rows(3, 1)
    bucket.write("seed.csv", b"text,label\n" + b"".join(f"{row['text']},{row['label']}\n".encode() for row in rows))
    spec = document(tmp_path, model, keyword.jsonl(rows))
    there = {"endpoint": s3.endpoint, "pathStyle": True, "credentialsSecretRef": {"name": "rows"}}
    moved = spec["data"] | {"seed": spec["data"]["seed"] | there | {"uri": f"s3://bucket/{prefix}/seed.csv"}}
    keys = {f"LLM2LLM_SEED_{name}": value for name, value in s3.environment.items() if name.startswith("AWS_")}
    pod = StepContext(pod_uid="pod-1", scratch=tmp_path / "scratch", environ=keys)

    report = prepare(spec | {"data": moved}, store, pod)
    assert report.resolved
    assert report.resolved.seed_count == 60

    wrong = StepContext(
        pod_uid="pod-2", scratch=tmp_path / "scratch", environ=keys | {"LLM2LLM_SEED_AWS_SECRET_ACCESS_KEY": "x"}
    )
    with pytest.raises(AuthenticationError, match="check Secret rows"):
        prepare(spec | {"data": moved, "randomSeed": 1}, LocalStore(tmp_path / "other"), wrong)

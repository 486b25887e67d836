"""A trained adapter in the hands of its user: peft and transformers load it by its folder alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.data_plane.bench import Bench, learned
from tests.integration.data_plane.test_fetch import COMMIT, Hub, handler
from tests.support import keyword

from llm2llm.artifacts.commit import commit, upload
from llm2llm.artifacts.committed import committed_manifest
from llm2llm.engines.base import Student
from llm2llm.engines.transformers import TransformersEngine
from llm2llm.layout import manifest_key
from llm2llm.records import Example, Manifest, Report, Stage, output_digest, to_jsonl
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, Store

LOAD = """
import sys, torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]).eval()
ids = torch.tensor([[int(number) for number in sys.argv[2].split()]])
print(model(input_ids=ids).logits[0].tolist())
"""
PROMPT = [5, 9, 7, 3]


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([PROMPT])).logits[0]


def engine_logits(base: Path, adapter: Path | None) -> Any:
    """Of the student as Evaluate loads it."""
    engine = TransformersEngine(Student(base, adapter, "none", eos=1), precision="fp32", gpus=0, context=64)
    return logits(engine._model)


def adapter_folder(store: LocalStore, report: Report) -> Path:
    return store.path(report.model_uri.removeprefix(store.uri).lstrip("/"))


def trained(bench: Bench) -> tuple[LocalStore, Path]:
    """A student that has learned something, and its adapter's folder."""
    run, store = learned(bench)
    return store, adapter_folder(store, run.reports[-1])


@pytest.mark.parametrize("place", ["in the work folder", "elsewhere"])
def test_peft_and_transformers_load_an_adapter_by_its_folder_and_get_what_was_scored(
    bench: Bench, tmp_path: Path, place: str
) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, folder = trained(bench)
    if place == "elsewhere":
        folder = Path(shutil.move(folder, tmp_path / "downloaded"))
    expected = engine_logits(bench.student, folder)
    assert not torch.allclose(expected, engine_logits(bench.student, None), atol=0.1)

    auto: Any = AutoPeftModelForCausalLM
    plain: Any = AutoModelForCausalLM
    for loaded in (auto.from_pretrained(str(folder)), plain.from_pretrained(str(folder))):
        torch.testing.assert_close(logits(loaded.eval()), expected, atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(str(folder)).eos_token_id == 1


@pytest.fixture
def hub(student: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where to find a Hub that has the student."""
    files = {path.name: path.read_bytes() for path in student.iterdir()}
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(Hub(files))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_CACHE": str(tmp_path / "hub")}
        server.shutdown()


def test_a_base_of_the_hub_is_loaded_by_its_id_and_the_commit_that_was_trained_on(
    bench: Bench, hub: dict[str, str]
) -> None:
    import torch

    run = keyword.Run(bench.document(student={"model": {"uri": "hf://team/student"}}))
    store = LocalStore(bench.folder / "run")
    run.add(run_step(run.step(Stage.PREPARE), store, bench.context(environ=hub)))
    report = run_step(run.step(Stage.TRAIN), store, bench.context(environ=hub))
    folder = adapter_folder(store, report)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("team/student", COMMIT)
    assert 'base_model: "team/student"\n' in (folder / "README.md").read_text()

    environ = {**os.environ, **hub, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, str(folder), " ".join(map(str, PROMPT))]
    loaded = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert loaded.returncode == 0, loaded.stderr
    there = torch.tensor(json.loads(loaded.stdout.splitlines()[-1]))
    torch.testing.assert_close(there, engine_logits(bench.student, folder), atol=1e-4, rtol=1e-4)


def test_a_base_in_a_bucket_is_named_by_its_uri_and_passed_by_whoever_loads_the_adapter(
    bench: Bench, bucket: Store, s3: S3Server
) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM

    run = keyword.Run(bench.document(**bench.uploaded(bucket, s3.endpoint)))
    store = LocalStore(bench.folder / "run")
    run.add(run_step(run.step(Stage.PREPARE), store, bench.context(environ=s3.environment)))
    folder = adapter_folder(store, run_step(run.step(Stage.TRAIN), store, bench.context(environ=s3.environment)))
    config = (folder / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == f"{bucket.uri}/student"
    assert str(bench.folder) not in config

    auto: Any = AutoPeftModelForCausalLM
    with pytest.raises((OSError, ValueError), match=f"{bucket.uri}/student"):
        auto.from_pretrained(str(folder))
    base: Any = AutoModelForCausalLM.from_pretrained(str(bench.student))
    loaded = PeftModel.from_pretrained(base, str(folder)).eval()
    torch.testing.assert_close(logits(loaded), engine_logits(bench.student, folder), atol=1e-4, rtol=1e-4)


def rewrite_as_before(store: LocalStore, manifest: Manifest, folder: str, uri: str) -> None:
    """Gives a committed adapter the config that earlier releases wrote, with its digest."""
    entry = manifest.object_named("adapter/adapter_config.json")
    config = json.loads(store.read(entry.key)) | {"base_model_name_or_path": uri}
    changed = upload(store, entry.key, entry.name, (json.dumps(config) + "\n").encode())
    objects = tuple(changed if one.name == entry.name else one for one in manifest.objects)
    digest = output_digest(objects)
    report = manifest.report.model_copy(update={"digest": digest})
    before = manifest.model_copy(update={"objects": objects, "digest": digest, "report": report})
    store.write(manifest_key(folder), before.to_json().encode())


def test_an_adapter_that_an_earlier_release_committed_is_scored_and_continued_and_not_trained_again(
    bench: Bench,
) -> None:
    run, store = bench.run("run", startFrom="PreviousIteration")
    step = run.step(Stage.TRAIN)
    run_step(step, store, bench.context())
    manifest = committed_manifest(store, step)
    assert manifest is not None
    rewrite_as_before(store, manifest, step.folder, run.document["student"]["model"]["uri"])

    context = bench.context("pod-2")
    report = run.add(run_step(step, store, context))
    assert "file://" in (adapter_folder(store, report) / "adapter_config.json").read_text()
    assert report.model_uri.endswith("data/pod-1/adapter")
    assert run.add(run_step(run.step(Stage.EVALUATE), store, context)).metrics
    row = Example(id="s0", fields={"text": keyword.rows(1, 3)[0]["text"]}, completion=keyword.LABELS[0])
    told = Report(run_uid=run.uid, stage=Stage.GENERATE)
    run.add(commit(store, run.step(Stage.GENERATE), context, {"synthetic.jsonl": to_jsonl([row])}, told))
    again = run_step(run.step(Stage.TRAIN, 1), store, context)
    config = json.loads((adapter_folder(store, again) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(bench.student)

"""The manifests that serve a student: what is in them is the run's, and what is not known is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.finished import finished_run

from llm2llm.results.student import LocatedStudent, StudentRecord, locate
from llm2llm.serving.servingmanifests import serving_manifest

BUCKET: dict[str, Any] = {
    "artifacts": {
        "uri": "s3://b/runs", "endpoint": "https://s3.example.com", "region": "eu-1",
        "credentialsSecretRef": {"name": "keys"}, "caBundleRef": {"name": "ca"},
    },
    "student": {"model": {"uri": "hf://org/base"}, "tokenSecretRef": {"name": "hub", "key": "token"}},
    "train": {"lora": {"r": 12}},
    "evaluate": {
        "precision": "bf16", "resources": {"limits": {"nvidia.com/gpu": "1"}}, "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}], "image": "registry.example.com/evaluator@sha256:1",
    },
}  # fmt: skip
"""A run on a cluster that leaves nothing open."""
SERVERS = ("vllm", "kserve")


def located(folder: Path, *, uri: str = "s3://b/runs/ns/r", **changes: Any) -> LocatedStudent:
    """The best student of a finished run whose store says that it is at `uri`."""
    return locate(finished_run(folder, uri=uri, **changes), None)


def printed(student: LocatedStudent, server: Any) -> tuple[str, list[dict[str, Any]]]:
    text = serving_manifest(student, server)
    return text, list(yaml.safe_load_all(text))


def pod_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    spec = documents[0]["spec"]
    return dict(spec["predictor"] if "predictor" in spec else spec["template"]["spec"])


def arguments(documents: list[dict[str, Any]]) -> list[str]:
    [container] = pod_of(documents)["containers"]
    return [*container["command"], *container["args"]]


def test_a_deployment_of_vllm_has_the_base_at_its_revision_and_the_adapter_of_the_run(tmp_path: Path):
    text, documents = printed(located(tmp_path, **BUCKET), "vllm")
    deployment, service = documents
    assert [document["kind"] for document in documents] == ["Deployment", "Service"]
    assert {document["metadata"]["namespace"] for document in documents} == {"ns"}
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    told = arguments(documents)
    assert told[:3] == ["vllm", "serve", "org/base"]
    assert {
        "--revision=abc", "--tokenizer-revision=abc", "--enable-lora", "--max-lora-rank=16", "--dtype=bfloat16",
        "--lora-modules=r=/mnt/student/adapter", "--generation-config=vllm",
        '--override-generation-config={"temperature":0}',
    } <= set(told)  # fmt: skip
    pod = pod_of(documents)
    [container], [copier] = pod["containers"], pod["initContainers"]
    assert container["image"] == "registry.example.com/evaluator@sha256:1"
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert pod["nodeSelector"] == {"gpu": "yes"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert token in container["env"]
    source = "s3://b/runs/ns/r/iterations/001/train/data/pod-a/adapter"
    assert copier["command"][-4:] == [source, "/mnt/student/adapter", "--endpoint-url", "https://s3.example.com"]
    assert copier["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert {"name": "AWS_CA_BUNDLE", "value": "/mnt/ca/ca.crt"} in copier["env"]
    assert re.findall(r"fill-in-\S+(?=:)", text) == ["fill-in-aws-cli-image"]


def test_kserve_fetches_the_adapter_itself(tmp_path: Path):
    text, [service] = printed(located(tmp_path, **BUCKET), "kserve")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    [container] = predictor["containers"]
    assert container["name"] == "kserve-container"
    uri = "s3://b/runs/ns/r/iterations/001/train/data/pod-a/adapter"
    assert {"name": "STORAGE_URI", "value": uri} in container["env"]
    assert "--lora-modules=r=/mnt/models" in container["args"]
    assert "initContainers" not in predictor
    assert re.findall(r"fill-in-\S+(?=:)", text) == ["fill-in-service-account"]
    words = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert "the run has them in Secret keys" in words
    assert "annotated with serving.kserve.io/s3-endpoint for https://s3.example.com" in words


def test_what_is_on_a_claim_is_mounted(tmp_path: Path):
    changes: dict[str, Any] = {"student": {"model": {"uri": "pvc://models/base"}}, "artifacts": {"uri": "pvc://runs/x"}}
    _, documents = printed(located(tmp_path, uri="pvc://runs/x/ns/r", **changes), "vllm")
    told = arguments(documents)
    assert told[2] == "/mnt/claims/models/base"
    assert "--lora-modules=r=/mnt/claims/runs/x/ns/r/iterations/001/train/data/pod-a/adapter" in told
    pod = pod_of(documents)
    assert "initContainers" not in pod
    claims = [each["persistentVolumeClaim"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert claims == [{"claimName": name, "readOnly": True} for name in ("models", "runs")]
    _, documents = printed(located(tmp_path / "b", uri="pvc://runs/x/ns/r", **changes), "kserve")
    [container] = pod_of(documents)["containers"]
    assert container["env"][-1]["value"].startswith("pvc://runs/x/ns/r/")


def test_a_whole_model_is_served_without_an_adapter(tmp_path: Path):
    _, documents = printed(located(tmp_path, **{**BUCKET, "train": {"method": "Full"}}), "vllm")
    told = arguments(documents)
    assert told[:4] == ["vllm", "serve", "/mnt/student/model", "--served-model-name=r"]
    assert not any("lora" in argument or "revision" in argument for argument in told)


def test_an_adapter_of_a_quantized_base_is_served_on_a_quantized_one(tmp_path: Path):
    changes = {**BUCKET, "train": {"method": "QLoRA"}, "evaluate": {"precision": "fp32"}}
    _, documents = printed(located(tmp_path, **changes), "vllm")
    assert {"--quantization=bitsandbytes", "--dtype=bfloat16"} <= set(arguments(documents))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("uri", ["hf://a/b", "file:///models/base"])
def test_each_value_to_fill_in_is_named_in_a_comment_and_nothing_else_is(server: str, uri: str):
    record = StudentRecord(
        run="tickets", namespace="team-a", iteration=3, digest="sha256:d", part="adapter", model_uri=uri,
        task={"promptTemplate": "a: {{ x }}\n--- \u2028 # {{ y }}\n...\n"},
    )  # fmt: skip
    text, documents = printed(LocatedStudent(record, folder=Path("student"), rank=16, chat=True), server)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    named = {match[1] for line in comments if (match := re.match(r"#   (fill-in-[a-z-]+): .", line))}
    assert named == set(re.findall(r"fill-in-[a-z-]+", body)) >= {"fill-in-image", "fill-in-adapter-uri"}
    assert ("fill-in-base-uri" in named) is uri.startswith("file://")
    assert any("Add resources with a GPU" in line for line in comments)
    assert "#   a: {{ x }}" in comments
    assert any("/v1/chat/completions, as the user's message" in line for line in comments)
    assert len(documents) == (2 if server == "vllm" else 1)

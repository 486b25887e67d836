"""PURE: writes the manifest that serves a student in a cluster: vLLM in a Deployment, or in KServe's InferenceService.

All values are those of the run. What the run does not know, such as an image or an address that a cluster can reach,
is a text that begins with `fill-in-`, and the comment at the top says what belongs there.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any, Literal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.engines.base import vllm_rank
from llm2llm.kubeyaml import dump
from llm2llm.loop.outcomes import describe_iteration
from llm2llm.models.names import loadable_name
from llm2llm.plaintext import plain, plain_lines
from llm2llm.records import canonical_json
from llm2llm.results.student import LocatedStudent
from llm2llm.storage.uri import local_path

PORT = 8000
KSERVE_PORT = 8080
_STUDENT = "/mnt/student"
_KSERVE_MODELS = "/mnt/models"
"""Where KServe puts what STORAGE_URI names."""
_SCRATCH = "/scratch"
_CA = "/mnt/ca"
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "Auto": "bfloat16"}
"""Auto is bf16 on every GPU that has it, and vLLM has nothing else for QLoRA."""


@dataclass
class _Pod:
    """The pod in the making.

    Attributes:
        blanks: each text to fill in, and what belongs there.
        copies: source and target of what is copied from a bucket before the server starts.
        claims: that are mounted.
    """

    student: LocatedStudent
    spec: AugmentationRunSpec | None
    blanks: dict[str, str] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)

    def blank(self, name: str, meaning: str) -> str:
        """Returns a text to fill in, and remembers what for."""
        self.blanks[f"fill-in-{name}"] = meaning
        return f"fill-in-{name}"

    def path_of(self, uri: str, name: str) -> str:
        """Returns where the files at a URI are in the pod, and has them brought there."""
        if uri.startswith("pvc://"):
            self.claims.append(uri.removeprefix("pvc://").partition("/")[0])
            return str(local_path(uri))
        if not uri.startswith("s3://"):
            uri = self.blank(
                f"{name}-uri",
                f"s3:// address of a copy of the {name}, which is only on one machine ({uri or self.student.folder}): "
                "aws s3 cp --recursive FOLDER ADDRESS",
            )
        self.copies.append((uri, f"{_STUDENT}/{name}"))
        return f"{_STUDENT}/{name}"


def serving_manifest(student: LocatedStudent, server: Literal["vllm", "kserve"]) -> str:
    """Returns the YAML, with comments, that serves a student; no value in it is a guess."""
    spec = student.run.view().spec if student.run else None
    pod = _Pod(student, spec)
    documents = _deployment(pod) if server == "vllm" else _inference_service(pod)
    comments = "".join(f"# {line}".rstrip() + "\n" for line in _comments(pod, server))
    return comments + "---\n".join(dump(document) for document in documents)


def _name(pod: _Pod) -> str:
    """Returns a name that a Service may have: it begins with a letter."""
    return f"student-{pod.student.record.run}"


def _metadata(pod: _Pod) -> dict[str, Any]:
    name, record = _name(pod), pod.student.record
    return {"name": name, "namespace": record.namespace, "labels": {"app.kubernetes.io/name": name}}


def _deployment(pod: _Pod) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": _name(pod)}
    container = _container(pod, "vllm", PORT, pod.path_of)
    container["startupProbe"] = {**_probe(), "periodSeconds": 10, "failureThreshold": 180}
    container["readinessProbe"] = _probe()
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(pod),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(pod, container)},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(pod),
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    return [deployment, service]


def _probe() -> dict[str, Any]:
    return {"httpGet": {"path": "/health", "port": "http"}}


def _inference_service(pod: _Pod) -> list[dict[str, Any]]:
    address: list[str] = []

    def path_of(uri: str, name: str) -> str:
        if name == "base":
            return pod.path_of(uri, name)
        known = uri.startswith(("s3://", "pvc://"))
        wanted = f"address of a copy of the {name} that KServe can reach, s3:// or pvc://; it is only on one machine"
        address.append(uri if known else pod.blank(f"{name}-uri", f"{wanted} ({uri or pod.student.folder})"))
        return _KSERVE_MODELS

    container = _container(pod, "kserve-container", KSERVE_PORT, path_of)
    container["ports"] = [{"containerPort": KSERVE_PORT, "protocol": "TCP"}]  # Knative refuses other names of ports
    container["env"].append({"name": "STORAGE_URI", "value": address[0]})
    account: dict[str, Any] = {}
    if address[0].startswith("s3://"):
        access = pod.spec.artifacts if pod.spec else None
        meaning = "ServiceAccount whose Secret has the keys of the bucket"
        if access and access.credentials_secret_ref:
            meaning += f" (the run has them in Secret {access.credentials_secret_ref.name})"
        if access and access.endpoint:
            meaning += f", annotated with serving.kserve.io/s3-endpoint for {access.endpoint}"
        account = {"serviceAccountName": pod.blank("service-account", meaning)}
    return [
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": _metadata(pod),
            "spec": {"predictor": _pod_spec(pod, container) | account},
        }
    ]


def _container(pod: _Pod, name: str, port: int, path_of: Any) -> dict[str, Any]:
    record, spec = pod.student.record, pod.spec
    model, arguments = _model(pod, path_of)
    arguments |= {
        "--port": str(port),
        "--dtype": "bfloat16" if record.quantization == "nf4" else _DTYPES[record.precision],
        "--max-model-len": "auto",
        # Not the base's own sampling: the student was scored greedily, without penalties.
        "--generation-config": "vllm",
        "--override-generation-config": canonical_json({"temperature": 0}),
    }
    if record.part == "adapter" and record.quantization == "nf4":
        arguments["--quantization"] = "bitsandbytes"
    if spec and spec.evaluate.tensor_parallel_size > 1:
        arguments["--tensor-parallel-size"] = str(spec.evaluate.tensor_parallel_size)
    if spec and spec.student.trust_remote_code:
        arguments["--trust-remote-code"] = ""
    container: dict[str, Any] = {
        "name": name,
        "image": _image(pod),
        "command": ["vllm", "serve", model],
        "args": [f"{option}={value}" if value else option for option, value in arguments.items()],
        "env": [{"name": "HOME", "value": _SCRATCH}],
        "ports": [{"name": "http", "containerPort": port}],
    }
    token = spec.student.token_secret_ref if spec else None
    if token and record.model_uri.startswith("hf://"):
        reference = {"secretKeyRef": {"name": token.name, "key": token.key}}
        container["env"].append({"name": "HF_TOKEN", "valueFrom": reference})
    resources = spec.evaluate.resources.model_dump(mode="json", by_alias=True, exclude_none=True) if spec else {}
    if wanted := {kind: amounts for kind, amounts in resources.items() if amounts}:
        container["resources"] = wanted
    return container


def _model(pod: _Pod, path_of: Any) -> tuple[str, dict[str, str]]:
    """Returns what vLLM is to load, and the options that say more about it."""
    student, record = pod.student, pod.student.record
    if record.part == "model":
        return path_of(student.uri, "model"), {"--served-model-name": record.run}
    options = {"--served-model-name": f"{record.run}-base"}
    if record.model_uri.startswith("hf://"):
        base = loadable_name(record.model_uri)
        if record.model_revision:
            options |= {"--revision": record.model_revision, "--tokenizer-revision": record.model_revision}
    else:
        base = path_of(record.model_uri, "base")
    adapter = path_of(student.uri, "adapter")
    return base, options | {
        "--enable-lora": "",
        "--max-loras": "1",
        "--max-lora-rank": str(vllm_rank(student.rank)),
        "--lora-modules": f"{record.run}={adapter}",
    }


def _image(pod: _Pod) -> str:
    """Returns the image that the run was scored with, if that is known: it has vLLM."""
    run = pod.student.run
    images = ((run.document.get("status") or {}).get("images") or {}) if run else {}
    known = images.get("Evaluate")
    own = pod.spec.evaluate.image if pod.spec else ""
    return str(own or known or pod.blank("image", "image with vLLM 0.28 or newer, such as vllm/vllm-openai with a tag"))


def _pod_spec(pod: _Pod, container: dict[str, Any]) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "scratch", "mountPath": _SCRATCH}]
    for number, claim in enumerate(dict.fromkeys(pod.claims)):
        reference = {"claimName": claim, "readOnly": True}
        volumes.append({"name": f"claim-{number}", "persistentVolumeClaim": reference})
        path = str(local_path(f"pvc://{claim}/"))
        mounts.append({"name": f"claim-{number}", "mountPath": path, "readOnly": True})
    if pod.spec and pod.spec.evaluate.tensor_parallel_size > 1:  # its processes share memory
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - a mount point
    spec = _scheduling(pod.spec) if pod.spec else {}
    if pod.copies:
        volumes.append({"name": "student", "emptyDir": {}})
        spec["initContainers"] = [_copier(pod, source, target, volumes) for source, target in pod.copies]
        mounts.append({"name": "student", "mountPath": _STUDENT, "readOnly": True})
    return spec | {"containers": [container | {"volumeMounts": mounts}], "volumes": volumes}


def _scheduling(spec: AugmentationRunSpec) -> dict[str, Any]:
    """Returns where the pods of the evaluation run, and as whom."""
    overrides, block = spec.pod_overrides, spec.evaluate
    chosen: dict[str, Any] = {
        "serviceAccountName": overrides.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in overrides.image_pull_secrets],
        "nodeSelector": {**overrides.node_selector, **block.node_selector},
        "tolerations": [
            each.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
            for each in (*overrides.tolerations, *block.tolerations)
        ],
    }
    return {name: value for name, value in chosen.items() if value}


def _copier(pod: _Pod, source: str, target: str, volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the container that copies a folder of a bucket, by the run's own access to it."""
    access = pod.spec.artifacts if pod.spec else None
    command = ["aws", "s3", "cp", "--recursive", "--only-show-errors", source, target]
    mounts = [{"name": "scratch", "mountPath": _SCRATCH}, {"name": "student", "mountPath": _STUDENT}]
    environment = [{"name": "HOME", "value": _SCRATCH}]
    if access and access.endpoint:
        command += ["--endpoint-url", access.endpoint]
    if access and access.region:
        environment.append({"name": "AWS_REGION", "value": access.region})
    if access and access.ca_bundle_ref:
        if all(volume["name"] != "ca" for volume in volumes):
            volumes.append({"name": "ca", "configMap": {"name": access.ca_bundle_ref.name}})
        mounts.append({"name": "ca", "mountPath": _CA})
        environment.append({"name": "AWS_CA_BUNDLE", "value": f"{_CA}/{access.ca_bundle_ref.key}"})
    container: dict[str, Any] = {
        "name": f"copy-{target.rpartition('/')[2]}",
        "image": pod.blank(
            "aws-cli-image", "image with the AWS CLI, such as public.ecr.aws/aws-cli/aws-cli with a tag"
        ),
        "command": command,
        "env": environment,
        "volumeMounts": mounts,
    }
    if access and access.credentials_secret_ref:
        container["envFrom"] = [{"secretRef": {"name": access.credentials_secret_ref.name}}]
    return container


def _comments(pod: _Pod, server: str) -> list[str]:
    """Returns the lines above the YAML: what it is, what to fill in, and how a prompt is made."""
    record, spec = pod.student.record, pod.spec
    title = f"{record.namespace}/{record.run}, {describe_iteration(record.iteration)}"
    base = f"{record.model_uri} at {record.model_revision}" if record.model_revision else record.model_uri
    lines = _wrapped(
        f"{title} ({record.digest}), trained on {base}. Written from the run alone: read it before you apply it."
    )
    if pod.blanks:
        lines += ["", "Fill in:"]
        for blank, meaning in pod.blanks.items():
            lines += _wrapped(f"  {blank}: {meaning}")
    if spec is None or not spec.evaluate.gpus:
        lines += ["", "Add resources with a GPU (limits: nvidia.com/gpu): the run names none for its evaluation."]
    if server == "kserve" and (pod.copies or pod.claims):
        lines += [
            "",
            *_wrapped("Under Knative, init containers and claims need its features of these names; not else."),
        ]
    lines += ["", f"A prompt for the model {plain(record.run)!r} is the run's template over the fields of a row:", ""]
    lines += [f"  {line}" for line in plain_lines(_template(pod)).splitlines()]
    path = "/v1/chat/completions, as the user's message" if pod.student.chat else "/v1/completions"
    limit = str(record.max_tokens) if record.max_tokens else "at least the tokens of the longest answer"
    told = f"POST it to {path}, with max_tokens: {limit} (vLLM cuts a completion after 16 if nothing is said)."
    return [*lines, "", *_wrapped(f"{told} `llm2llm serve` without --manifest shows this at work.")]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(plain(text), 108, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _template(pod: _Pod) -> str:
    from llm2llm.tasks.presets import expand_preset

    return expand_preset(pod.student.record.settings).prompt_template

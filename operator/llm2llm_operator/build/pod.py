"""The pod of a step: what the operator needs, what the step block asks for, what `podOverrides` adds. Pure.

One place for the order of precedence: the operator's own settings win over the step block, and the step block wins over
`podOverrides`. Nothing that a user sets can give a step an API token, another command or a writable root.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from llm2llm.api.base import CaBundleReference, Model, SecretKeyReference
from llm2llm.api.data import HeldOutSource, Source
from llm2llm.api.pods import PodOverrides, StepBlock
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.podenv import (
    CA_BUNDLE,
    CREDENTIALS,
    HUB_TOKEN,
    TEACHER_CA_BUNDLE,
    TEACHER_HUB_TOKEN,
    TEACHER_KEY,
    env_name,
)
from llm2llm.records import Kind, Stage, StepDocument
from llm2llm_operator.constants import CA_BUNDLES, CLAIMS, CONFIG_MAPS, CONTAINER, MODELS, SCRATCH, SHARED_MEMORY

CA_VARIABLES = {
    "artifacts": CA_BUNDLE,
    "teacher": TEACHER_CA_BUNDLE,
    **{dataset: env_name(dataset, CA_BUNDLE) for dataset in ("seed", "evaluation", "test")},
}
CA_FILE = "ca.crt"


def pod_template(
    spec: AugmentationRunSpec, block: StepBlock, *, image: str, labels: dict[str, str], document: StepDocument
) -> dict[str, Any]:
    """The pod template of an attempt's Job.

    Args:
        spec: for credentials, scheduling and `podOverrides`.
        block: the step block.
        image: the step's image.
        labels: the operator's own labels.
        document: the whole step, for the environment.
    """
    overrides = spec.pod_overrides
    claims, config_maps = _mounted(spec)
    shared = _shared_memory(block, overrides)
    metadata: dict[str, Any] = {"labels": overrides.labels | labels}
    if overrides.annotations:
        metadata["annotations"] = overrides.annotations
    container = {
        "name": CONTAINER,
        "image": image,
        "command": ["llm2llm", "step"],
        "env": _environment(spec, block, document),
        "resources": _set_fields(block.resources),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *(_set_fields(mount) for mount in overrides.volume_mounts),
            *({"name": f"claim-{n}", "mountPath": f"{CLAIMS}/{name}"} for n, name in enumerate(claims)),
            *_cache_mount(spec, document),
            *(
                {"name": f"ca-{use}", "mountPath": f"{CA_BUNDLES}/{use}", "readOnly": True}
                for use in _bundles(spec, document)
            ),
            *({"name": f"config-{n}", "mountPath": f"{CONFIG_MAPS}/{name}"} for n, name in enumerate(config_maps)),
            {"name": "scratch", "mountPath": SCRATCH},
            *({"name": name, "mountPath": SHARED_MEMORY} for name in shared),
        ],
    }
    return {
        "metadata": metadata,
        "spec": _placement(spec, block, overrides)
        | {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [
                *(_set_fields(volume) for volume in overrides.volumes),
                *(
                    {"name": f"claim-{n}", "persistentVolumeClaim": {"claimName": name}}
                    for n, name in enumerate(claims)
                ),
                *_cache_volume(spec),
                *(
                    {
                        "name": f"ca-{use}",
                        "configMap": {"name": bundle.name, "items": [{"key": bundle.key, "path": CA_FILE}]},
                    }
                    for use, bundle in _bundles(spec, document).items()
                ),
                *({"name": f"config-{n}", "configMap": {"name": name}} for n, name in enumerate(config_maps)),
                {"name": "scratch", "emptyDir": {}},
                *({"name": name, "emptyDir": {"medium": "Memory"}} for name in shared),
            ],
        },
    }


def _placement(spec: AugmentationRunSpec, block: StepBlock, overrides: PodOverrides) -> dict[str, Any]:
    """Where and as whom the pod runs; what is not set is left to the cluster."""
    wanted: dict[str, Any] = {
        "nodeSelector": overrides.node_selector | block.node_selector,
        "tolerations": [_set_fields(toleration) for toleration in (*overrides.tolerations, *block.tolerations)],
        "affinity": overrides.affinity,
        "priorityClassName": spec.scheduling.priority_class_name,
        "serviceAccountName": overrides.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in overrides.image_pull_secrets],
        "terminationGracePeriodSeconds": overrides.termination_grace_period_seconds,
        "schedulerName": overrides.scheduler_name,
    }
    return {name: value for name, value in wanted.items() if value}


def _mounted(spec: AugmentationRunSpec) -> tuple[list[str], list[str]]:
    """Names of the claims and ConfigMaps that the run's URIs name: pvc://claim/path, configmap://name/key."""
    uris = [spec.artifacts.uri, spec.data.seed.uri, spec.student.model.uri]
    uris += [source.uri for source in (spec.data.evaluation, spec.data.test) if source and source.uri]
    uris += [source.uri for source in spec.reuse_from]
    uris += [source.uri for source in (spec.generate.teacher.source,) if source]
    parts = [urlsplit(uri) for uri in uris]
    claims, config_maps = (
        list(dict.fromkeys(part.netloc for part in parts if part.scheme == scheme)) for scheme in ("pvc", "configmap")
    )
    return claims, config_maps


def _cache_volume(spec: AugmentationRunSpec) -> list[dict[str, Any]]:
    cache = spec.student.cache
    if cache is None:
        return []
    return [{"name": "models", "persistentVolumeClaim": {"claimName": cache.persistent_volume_claim.claim_name}}]


def _cache_mount(spec: AugmentationRunSpec, document: StepDocument) -> list[dict[str, Any]]:
    """Only Prepare writes into the cache of base models."""
    if spec.student.cache is None:
        return []
    filling = document.stage is Stage.PREPARE and document.kind is Kind.RUN
    return [{"name": "models", "mountPath": MODELS} | ({} if filling else {"readOnly": True})]


def _shared_memory(block: StepBlock, overrides: PodOverrides) -> list[str]:
    """The volume over which NCCL and vLLM exchange data between the processes of several GPUs: with the 64 MiB that a
    container has by itself they fail or die of SIGBUS. None where the user mounts one.
    """
    users = any(mount.mount_path.rstrip("/") == SHARED_MEMORY for mount in overrides.volume_mounts)
    return ["shared-memory"] if block.gpus > 1 and not users else []


def _bundles(spec: AugmentationRunSpec, document: StepDocument) -> dict[str, CaBundleReference]:
    """The authorities that a step needs, by whom they certify."""
    wanted = {"artifacts": spec.artifacts.ca_bundle_ref}
    wanted |= {dataset: source.ca_bundle_ref for dataset, source in _sources(spec, document)}
    if document.kind is Kind.RUN and document.stage in (Stage.PREPARE, Stage.GENERATE):
        wanted["teacher"] = spec.generate.teacher.ca_bundle_ref
    return {use: bundle for use, bundle in wanted.items() if bundle is not None}


def _environment(spec: AugmentationRunSpec, block: StepBlock, document: StepDocument) -> list[dict[str, Any]]:
    """Later ones win: of two variables with one name a kubelet takes the last."""
    users = {var.name: var.value for var in (*spec.pod_overrides.env, *block.env)}
    ours: list[dict[str, Any]] = [
        {"name": "LLM2LLM_STEP", "value": document.to_environment()},
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "LLM2LLM_SCRATCH", "value": SCRATCH},
        {"name": "HOME", "value": SCRATCH},
        {"name": "TMPDIR", "value": SCRATCH},
        {"name": "XDG_CACHE_HOME", "value": f"{SCRATCH}/cache"},
    ]
    if spec.student.cache:
        ours.append({"name": "LLM2LLM_MODEL_CACHE", "value": MODELS})
    ours += [{"name": CA_VARIABLES[use], "value": f"{CA_BUNDLES}/{use}/{CA_FILE}"} for use in _bundles(spec, document)]
    if spec.artifacts.credentials_secret_ref:
        ours += _credentials(spec.artifacts.credentials_secret_ref.name, lambda name: name)
    for dataset, source in _sources(spec, document):
        if source.credentials_secret_ref:
            ours += _credentials(source.credentials_secret_ref.name, partial(env_name, dataset))
    if document.kind is Kind.RUN:
        teacher = spec.generate.teacher.api_key_secret_ref
        if teacher and document.stage in (Stage.PREPARE, Stage.GENERATE):
            ours.append(_from_secret(TEACHER_KEY, teacher))
        weights = spec.generate.teacher.source
        if weights and weights.token_secret_ref and document.stage in (Stage.PREPARE, Stage.GENERATE):
            ours.append(_from_secret(TEACHER_HUB_TOKEN, weights.token_secret_ref))
        hub = spec.student.token_secret_ref
        if hub and document.stage is not Stage.GENERATE:
            ours.append(_from_secret(HUB_TOKEN, hub))
    names = {entry["name"] for entry in ours}
    return [{"name": name, "value": value} for name, value in users.items() if name not in names] + ours


def _sources(spec: AugmentationRunSpec, document: StepDocument) -> list[tuple[str, Source | HeldOutSource]]:
    """The sources of rows, which Prepare alone reads."""
    if document.stage is not Stage.PREPARE or document.kind is not Kind.RUN:
        return []
    return list(spec.data.sources().items())


def _credentials(secret: str, called: Callable[[str], str]) -> list[dict[str, Any]]:
    """Keys of a bucket, each under the name that it is called by; a session token is there or not."""
    return [
        _from_secret(called(key), SecretKeyReference(name=secret, key=key), optional=key == "AWS_SESSION_TOKEN")
        for key in CREDENTIALS
    ]


def _from_secret(name: str, reference: SecretKeyReference, *, optional: bool = False) -> dict[str, Any]:
    source: dict[str, Any] = {"name": reference.name, "key": reference.key}
    return {"name": name, "valueFrom": {"secretKeyRef": source | ({"optional": True} if optional else {})}}


def _set_fields(model: Model) -> dict[str, Any]:
    """A part of the API as a document of Kubernetes: the fields that differ from their defaults."""
    return model.model_dump(by_alias=True, exclude_defaults=True)

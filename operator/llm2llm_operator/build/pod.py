"""Builds the pod of a step from the operator's own settings, the step block, and `podOverrides`. Pure.

The order of precedence is decided here: the operator's own settings win over the step block, and the step block wins
over `podOverrides`. No user setting can give a step an API token, another command or a writable root.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from llm2llm.api.base import Model
from llm2llm.api.pods import PodOverrides, PodSecurityContext, StepBlock
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.podenv import (
    CA_BUNDLES,
    CA_FILE,
    CLAIMS,
    CONFIG_MAPS,
    CONTAINER,
    MODEL_CACHE,
    MODELS,
    POD_UID,
    SCRATCH,
    SCRATCH_FOLDER,
    SHARED_MEMORY,
    STEP,
    CaBundle,
    SecretVariable,
    ca_bundles,
    secret_variables,
)
from llm2llm.records import Kind, Stage, StepDocument
from llm2llm_operator.build.poddefaults import NO_DEFAULTS, PodDefaults, pull_secrets_of


def pod_template(
    spec: AugmentationRunSpec,
    block: StepBlock,
    *,
    image: str,
    labels: dict[str, str],
    document: StepDocument,
    resources: dict[str, Any],
    defaults: PodDefaults = NO_DEFAULTS,
) -> dict[str, Any]:
    """Builds the pod template of an attempt's Job.

    Args:
        spec: for credentials, scheduling and `podOverrides`.
        block: the step block.
        image: the step's image.
        labels: the operator's own labels.
        document: the whole step, for the environment.
        resources: of the container: the step block's own, completed by the operator's defaults.
        defaults: what the operator's settings add, unless the run decides.
    """
    overrides = spec.pod_overrides
    claims, config_maps = _mounted_names(spec)
    shared = _shared_memory(block, overrides)
    bundles = ca_bundles(spec, document.stage, document.kind)
    metadata: dict[str, Any] = {"labels": overrides.labels | labels}
    if overrides.annotations:
        metadata["annotations"] = overrides.annotations
    container = {
        "name": CONTAINER,
        "image": image,
        **({"imagePullPolicy": defaults.pull_policy} if defaults.pull_policy and not block.image else {}),
        "command": ["llm2llm", "step"],
        "env": _environment(spec, block, document, bundles),
        "resources": resources,
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
                {"name": f"ca-{bundle.use}", "mountPath": f"{CA_BUNDLES}/{bundle.use}", "readOnly": True}
                for bundle in bundles
            ),
            *({"name": f"config-{n}", "mountPath": f"{CONFIG_MAPS}/{name}"} for n, name in enumerate(config_maps)),
            {"name": "scratch", "mountPath": SCRATCH},
            *({"name": name, "mountPath": SHARED_MEMORY} for name in shared),
        ],
    }
    return {
        "metadata": metadata,
        "spec": _placement(spec, block, overrides, defaults)
        | {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _security_context(overrides, defaults.fs_group),
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
                        "name": f"ca-{bundle.use}",
                        "configMap": {
                            "name": bundle.reference.name,
                            "items": [{"key": bundle.reference.key, "path": CA_FILE}],
                            **({"optional": True} if bundle.optional else {}),
                        },
                    }
                    for bundle in bundles
                ),
                *({"name": f"config-{n}", "configMap": {"name": name}} for n, name in enumerate(config_maps)),
                {"name": "scratch", "emptyDir": {}},
                *({"name": name, "emptyDir": {"medium": "Memory"}} for name in shared),
            ],
        },
    }


def _security_context(overrides: PodOverrides, fs_group: int | None) -> dict[str, Any]:
    """Returns the pod's security context; the run's own group, or none, takes the place of the operator's."""
    own = overrides.security_context
    groups = PodSecurityContext(fs_group=fs_group) if own is None else own
    fields = groups.model_dump(by_alias=True, exclude_defaults=True)
    if groups.fs_group is not None:
        fields["fsGroupChangePolicy"] = groups.fs_group_change_policy
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} | fields


def _placement(
    spec: AugmentationRunSpec, block: StepBlock, overrides: PodOverrides, defaults: PodDefaults
) -> dict[str, Any]:
    """Returns where and with which identity the pod runs; unset fields are left to the cluster."""
    fields: dict[str, Any] = {
        "nodeSelector": overrides.node_selector | block.node_selector,
        "tolerations": [_set_fields(toleration) for toleration in (*overrides.tolerations, *block.tolerations)],
        "affinity": overrides.affinity.model_dump(by_alias=True, exclude_unset=True, exclude_none=True),
        "priorityClassName": spec.scheduling.priority_class_name,
        "serviceAccountName": overrides.service_account_name,
        "imagePullSecrets": pull_secrets_of(
            [secret.name for secret in overrides.image_pull_secrets], defaults.pull_secrets
        ),
        "terminationGracePeriodSeconds": overrides.termination_grace_period_seconds,
        "schedulerName": overrides.scheduler_name,
    }
    return {name: value for name, value in fields.items() if value}


def _mounted_names(spec: AugmentationRunSpec) -> tuple[list[str], list[str]]:
    """Returns the names of the claims and ConfigMaps in the run's URIs: pvc://claim/path, configmap://name/key."""
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
    """Returns the mount of the base model cache, which only Prepare may write to."""
    if spec.student.cache is None:
        return []
    filling = document.stage is Stage.PREPARE and document.kind is Kind.RUN
    return [{"name": "models", "mountPath": MODELS} | ({} if filling else {"readOnly": True})]


def _shared_memory(block: StepBlock, overrides: PodOverrides) -> list[str]:
    """Returns the volume for shared memory, if the step has several GPUs and the user does not mount one.

    NCCL and vLLM exchange data between processes over it; with a container's default of 64 MiB they fail or die of
    SIGBUS.
    """
    mounted_by_user = any(mount.mount_path.rstrip("/") == SHARED_MEMORY for mount in overrides.volume_mounts)
    return ["shared-memory"] if block.gpus > 1 and not mounted_by_user else []


def _environment(
    spec: AugmentationRunSpec, block: StepBlock, document: StepDocument, bundles: Sequence[CaBundle]
) -> list[dict[str, Any]]:
    """Returns the container's variables: those of the pod contract (llm2llm.podenv), which a user cannot set, and the
    user's.
    """
    ours: list[dict[str, Any]] = [
        {"name": STEP, "value": document.to_environment()},
        {"name": POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": SCRATCH_FOLDER, "value": SCRATCH},
        {"name": "HOME", "value": SCRATCH},
        {"name": "TMPDIR", "value": SCRATCH},
        {"name": "XDG_CACHE_HOME", "value": f"{SCRATCH}/cache"},
    ]
    if spec.student.cache:
        ours.append({"name": MODEL_CACHE, "value": MODELS})
    ours += [{"name": bundle.variable, "value": f"{CA_BUNDLES}/{bundle.use}/{CA_FILE}"} for bundle in bundles]
    ours += [_from_secret(variable) for variable in secret_variables(spec, document.stage, document.kind)]
    names = {entry["name"] for entry in ours}
    users = {var.name: var.value for var in (*spec.pod_overrides.env, *block.env)}
    return [{"name": name, "value": value} for name, value in users.items() if name not in names] + ours


def _from_secret(variable: SecretVariable) -> dict[str, Any]:
    source: dict[str, Any] = {"name": variable.secret, "key": variable.key}
    if variable.optional:
        source["optional"] = True
    return {"name": variable.name, "valueFrom": {"secretKeyRef": source}}


def _set_fields(model: Model) -> dict[str, Any]:
    """Dumps a part of the API as a Kubernetes document: the fields that differ from their defaults."""
    return model.model_dump(by_alias=True, exclude_defaults=True)

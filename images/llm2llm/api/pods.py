"""The part of the API that shapes pods: the step block, and what a user may add to every step's pod.

An allow-list and never a free-form template: whatever is not named here cannot be set, so that the operator's own
guarantees about its pods (no API token, `restricted`, one container) hold.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from llm2llm.api.base import MONTH, Model, Quantity, SecretName, SecretReference, ShortText


class Resources(Model):
    requests: dict[ShortText, Quantity] = Field(
        default_factory=dict, max_length=16, description="As in a container: name to quantity."
    )
    limits: dict[ShortText, Quantity] = Field(
        default_factory=dict, max_length=16, description="As in a container: name to quantity."
    )


class EnvVar(Model):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=253)] = Field(
        description="Name; names that begin with LLM2LLM_ are reserved."
    )
    value: Annotated[str, StringConstraints(max_length=8192)] = Field("", description="Literal value.")


class Toleration(Model):
    key: ShortText = Field("", description="Taint key; empty with Exists matches every key.")
    operator: Literal["Exists", "Equal"] = Field(
        "Equal", description="Equal compares the value, Exists only asks for the key."
    )
    value: ShortText = Field("", description="Taint value for Equal.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "", description="Empty matches every effect."
    )


class StepBlock(Model):
    image: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="Image of the step; empty: the operator's own for this stage, pinned when the run is accepted."
    )
    resources: Resources = Field(default_factory=Resources, description="Container resources; ask for GPUs here.")
    node_selector: dict[ShortText, ShortText] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints of nodes that the pod tolerates."
    )
    env: list[EnvVar] = Field(
        default_factory=list,
        max_length=64,
        description="Further environment variables, e.g. HTTPS_PROXY or TEACHER_TIMEOUT_SECONDS.",
    )
    startup_deadline_seconds: int | None = Field(
        None, ge=1, le=MONTH, description="Fail if no container starts in this time; unset: wait, and say why."
    )
    progress_deadline_seconds: int = Field(
        1800, ge=10, le=MONTH, description="The step ends itself, to be tried again, if nothing moves for so long."
    )
    active_deadline_seconds: int | None = Field(
        None, ge=1, le=MONTH, description="Fail if the step's containers ran longer than this, over all attempts."
    )

    @property
    def gpus(self) -> int:
        """GPUs of the container, of any vendor."""
        asked = self.resources.requests | self.resources.limits
        return sum(int(amount) for name, amount in asked.items() if name.endswith("/gpu") and amount.isdigit())


class ClaimVolume(Model):
    claim_name: SecretName = Field(description="Name of a PersistentVolumeClaim in the run's namespace.")
    read_only: bool = Field(False, description="Mount it read-only everywhere.")


class SecretVolume(Model):
    secret_name: SecretName = Field(description="Name of a Secret in the run's namespace.")


class ConfigMapVolume(Model):
    name: SecretName = Field(description="Name of a ConfigMap in the run's namespace.")


class EmptyDirVolume(Model):
    medium: Literal["", "Memory"] = Field(
        "", description="Memory for a tmpfs; a step with several GPUs has one at /dev/shm anyway."
    )
    size_limit: Quantity | None = Field(None, description="Evict the pod above this size.")


VolumeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Volume(Model):
    name: VolumeName = Field(description="Name for volumeMounts.")
    persistent_volume_claim: ClaimVolume | None = Field(None, description="A claim.")
    secret: SecretVolume | None = Field(None, description="A Secret's keys as files.")
    config_map: ConfigMapVolume | None = Field(None, description="A ConfigMap's keys as files.")
    empty_dir: EmptyDirVolume | None = Field(None, description="Scratch space that ends with the pod.")

    @field_validator("name")
    @classmethod
    def _not_ours(cls, name: str) -> str:
        if re.fullmatch(r"scratch|shared-memory|models|ca-.*|(claim|config)-[0-9]+", name):
            raise ValueError("scratch, shared-memory, models, ca-*, claim-N and config-N are the operator's own")
        return name

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.persistent_volume_claim, self.secret, self.config_map, self.empty_dir)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("exactly one of persistentVolumeClaim, secret, configMap and emptyDir must be set")
        return self


class VolumeMount(Model):
    name: VolumeName = Field(description="Name of a volume.")
    mount_path: Annotated[str, StringConstraints(pattern=r"^/.*$", max_length=1024)] = Field(
        description="Where it appears in the container; /scratch and /mnt are the operator's own."
    )
    sub_path: ShortText = Field("", description="Folder in the volume.")
    read_only: bool = Field(False, description="Mount it read-only here.")

    @field_validator("mount_path")
    @classmethod
    def _not_ours(cls, path: str) -> str:
        if re.match(r"/(scratch|mnt)(/|$)", path):
            raise ValueError("/scratch and /mnt are the operator's own")
        return path


Affinity = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""As in a pod: too large to be typed here again, and checked by the API server when the first Job is created."""


class PodOverrides(Model):
    """What is added to the pods of every step."""

    labels: dict[ShortText, ShortText] = Field(
        default_factory=dict, max_length=32, description="Labels of the pods, beside the operator's own."
    )
    annotations: dict[ShortText, Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default_factory=dict, max_length=32, description="Annotations of the pods."
    )
    service_account_name: ShortText = Field("", description="For workload identity; no API token is mounted.")
    image_pull_secrets: list[SecretReference] = Field(
        default_factory=list, max_length=8, description="Secrets with the keys of image registries."
    )
    env: list[EnvVar] = Field(
        default_factory=list, max_length=64, description="Environment variables of every step; a step's own win."
    )
    node_selector: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="Labels that the nodes of every step must have; a step's own win.",
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Tolerations of every step, before its own."
    )
    affinity: Affinity = Field(default_factory=dict, description="Node and pod affinity, as in a pod.")
    volumes: list[Volume] = Field(
        default_factory=list, max_length=16, description="Volumes of every pod, of four kinds."
    )
    volume_mounts: list[VolumeMount] = Field(
        default_factory=list, max_length=16, description="Where the volumes appear in the containers."
    )
    termination_grace_period_seconds: int | None = Field(
        None, ge=1, le=86400, description="Time for a checkpoint after SIGTERM; 30 by default."
    )
    scheduler_name: ShortText = Field("", description="Another scheduler than the default one.")

    @field_validator("volumes")
    @classmethod
    def _names_differ(cls, volumes: list[Volume]) -> list[Volume]:
        if len({volume.name for volume in volumes}) < len(volumes):
            raise ValueError("names of volumes must differ")
        return volumes

    @field_validator("volume_mounts")
    @classmethod
    def _mounts_fit(cls, mounts: list[VolumeMount], info: ValidationInfo) -> list[VolumeMount]:
        volumes = {volume.name for volume in info.data.get("volumes", ())}
        if "volumes" in info.data and not all(mount.name in volumes for mount in mounts):
            raise ValueError("every volumeMount must name one of the volumes")
        if len({mount.mount_path for mount in mounts}) < len(mounts):
            raise ValueError("every mountPath must differ")
        return mounts

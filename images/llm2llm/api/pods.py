"""The part of the API about pods: the step block, and what a user may add to every step's pod.

It is an allow-list, not a free-form template: other fields cannot be set, so that the operator's guarantees about its
pods (no API token, `restricted`, one container) hold.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from llm2llm.api.affinity import Affinity
from llm2llm.api.base import (
    MONTH,
    CelRule,
    Model,
    Quantity,
    SecretName,
    SecretReference,
    ShortText,
    TextLimit,
    is_as_written,
)
from llm2llm.api.forms import Form

RESOURCE_NAMES = (
    "names must be cpu, memory, ephemeral-storage, or those of a device with its vendor, such as nvidia.com/gpu"
)
_NAMES_IN = (
    "!has(self.{0}) || self.{0}.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] ||"
    " name.startsWith('hugepages-') || name.contains('/'))"
)


class Resources(Model):
    requests: dict[ShortText, Quantity] = Field(
        default_factory=dict, max_length=16, description="As in a container: resource name to quantity."
    )
    limits: dict[ShortText, Quantity] = Field(
        default_factory=dict, max_length=16, description="As in a container: resource name to quantity."
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(_NAMES_IN.format("requests"), RESOURCE_NAMES, ".requests"),
        CelRule(_NAMES_IN.format("limits"), RESOURCE_NAMES, ".limits"),
    )

    @field_validator("requests", "limits")
    @classmethod
    def _of_a_container(cls, quantities: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        others = [name for name in quantities if not _is_resource(name)]
        if is_as_written(info) and others:
            raise ValueError(f"{RESOURCE_NAMES}, not {', '.join(others)}")
        return quantities


def _is_resource(name: str) -> bool:
    """Returns whether a container may request a resource of this name (Kubernetes, ValidateContainerResourceName)."""
    return name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-") or "/" in name


class EnvVar(Model):
    name: Annotated[
        str,
        StringConstraints(max_length=253),
        Form(
            r"[A-Za-z_][A-Za-z0-9_.-]*",
            "must be the name of a variable: only letters, digits, _, . and -, not starting with a digit",
        ),
    ] = Field(description="Name of the variable. Names that start with LLM2LLM_ are reserved.")
    value: Annotated[str, StringConstraints(max_length=8192)] = Field("", description="Literal value.")

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!self.name.startsWith('LLM2LLM_')",
            "names that start with LLM2LLM_ are reserved",
            ".name",
        ),
    )


Environment = Annotated[list[EnvVar], Field(max_length=64), TextLimit(16384)]


class Toleration(Model):
    key: ShortText = Field("", description="Taint key. If empty, the operator must be Exists, and every key matches.")
    operator: Literal["Exists", "Equal"] = Field(
        "Equal",
        description="Equal, the default, compares the taint's value with value; Exists only checks that the key "
        "exists.",
    )
    value: ShortText = Field("", description="Taint value to compare with, for Equal.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "", description="Taint effect to match. If empty, every effect matches."
    )


Tolerations = Annotated[list[Toleration], Field(max_length=32), TextLimit(4096)]


class StepBlock(Model):
    image: Annotated[str, StringConstraints(max_length=512)] = Field(
        "",
        description="Container image of the step. If empty, the operator's default image for the stage is used, "
        "pinned when the run is accepted.",
    )
    resources: Resources = Field(
        default_factory=Resources,
        description="Resources of the container; request GPUs here. A resource that is in neither list gets the "
        "operator's default for the stage, if there is one.",
    )
    node_selector: dict[ShortText, ShortText] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have to run the step."
    )
    tolerations: Tolerations = Field(default_factory=list, description="Node taints that the pod tolerates.")
    env: Environment = Field(
        default_factory=list,
        description="Additional environment variables, e.g. HTTPS_PROXY or TEACHER_TIMEOUT_SECONDS.",
    )
    startup_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MONTH,
        description="Fail the run if no container of the step has started within this many seconds. If unset, the "
        "run waits and reports why.",
    )
    progress_deadline_seconds: int = Field(
        1800, ge=10, le=MONTH, description="The step exits, and is retried, after this many seconds without progress."
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MONTH,
        description="Fail the run if the step's containers have run for more than this many seconds, over all "
        "attempts.",
    )

    @property
    def gpus(self) -> int:
        """Number of GPUs of the container, of any vendor."""
        resources = self.resources.requests | self.resources.limits
        return sum(int(amount) for name, amount in resources.items() if name.endswith("/gpu") and amount.isdigit())


class ClaimVolume(Model):
    claim_name: SecretName = Field(description="Name of a PersistentVolumeClaim in the run's namespace.")
    read_only: bool = Field(False, description="Mount the volume read-only everywhere.")


class SecretVolume(Model):
    secret_name: SecretName = Field(description="Name of a Secret in the run's namespace.")


class ConfigMapVolume(Model):
    name: SecretName = Field(description="Name of a ConfigMap in the run's namespace.")


class EmptyDirVolume(Model):
    medium: Literal["", "Memory"] = Field(
        "", description="Memory makes it a tmpfs. Steps with several GPUs have a tmpfs at /dev/shm in any case."
    )
    size_limit: Quantity | None = Field(None, description="Size limit; the pod is evicted if the volume exceeds it.")


VolumeName = Annotated[
    str,
    StringConstraints(max_length=63),
    Form(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "must be the name of a volume: only a-z, 0-9 and -, starting and ending with a letter or digit",
    ),
]


class Volume(Model):
    name: VolumeName = Field(description="Name of the volume, for volumeMounts to refer to.")
    persistent_volume_claim: ClaimVolume | None = Field(None, description="An existing PersistentVolumeClaim.")
    secret: SecretVolume | None = Field(None, description="The keys of a Secret, as files.")
    config_map: ConfigMapVolume | None = Field(None, description="The keys of a ConfigMap, as files.")
    empty_dir: EmptyDirVolume | None = Field(None, description="Scratch space that is deleted with the pod.")

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "[has(self.persistentVolumeClaim), has(self.secret), has(self.configMap), has(self.emptyDir)]"
            ".filter(p, p).size() == 1",
            "exactly one of persistentVolumeClaim, secret, configMap and emptyDir must be set",
        ),
        CelRule(
            "!self.name.matches('^(scratch|shared-memory|models|ca-.*|(claim|config)-[0-9]+)$')",
            "scratch, shared-memory, models, ca-*, claim-N and config-N are reserved for the operator",
            ".name",
        ),
    )

    @field_validator("name")
    @classmethod
    def _not_ours(cls, name: str) -> str:
        if re.fullmatch(r"scratch|shared-memory|models|ca-.*|(claim|config)-[0-9]+", name):
            raise ValueError("scratch, shared-memory, models, ca-*, claim-N and config-N are reserved for the operator")
        return name

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.persistent_volume_claim, self.secret, self.config_map, self.empty_dir)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("exactly one of persistentVolumeClaim, secret, configMap and emptyDir must be set")
        return self


_OURS = "^/([.]?/)*(scratch|mnt)(/|$)|/[.][.](/|$)"
_OURS_AT_FIRST = "^/(scratch|mnt)(/|$)"
_RESERVED_PATHS = "/scratch and /mnt are reserved for the operator, and '..' is not allowed"


class VolumeMount(Model):
    name: VolumeName = Field(description="Name of the volume to mount.")
    mount_path: Annotated[
        str, StringConstraints(max_length=1024), Form(r"/.*", "must be an absolute path, such as /data")
    ] = Field(description="Path in the container to mount it at; /scratch and /mnt are reserved for the operator.")
    sub_path: ShortText = Field("", description="Folder in the volume to mount instead of its root.")
    read_only: bool = Field(False, description="Mount the volume read-only here.")

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            f"!self.mountPath.matches('{_OURS}')",
            _RESERVED_PATHS,
            ".mountPath",
        ),
    )

    @field_validator("mount_path")
    @classmethod
    def _not_ours(cls, path: str, info: ValidationInfo) -> str:
        if re.search(_OURS if is_as_written(info) else _OURS_AT_FIRST, path):
            raise ValueError(_RESERVED_PATHS)
        return path


GroupId = Annotated[int, Field(ge=0, le=2147483647)]


class SELinuxOptions(Model):
    level: ShortText = Field("", description="SELinux level, such as s0:c123,c456.")
    role: ShortText = Field("", description="SELinux role.")
    type: ShortText = Field("", description="SELinux type.")
    user: ShortText = Field("", description="SELinux user.")


class PodSecurityContext(Model):
    """What may be set of a pod's security context; the rest is what Pod Security `restricted` demands."""

    fs_group: GroupId | None = Field(
        None, description="Group that owns the files of the volumes. If unset, the pod has none."
    )
    fs_group_change_policy: Literal["Always", "OnRootMismatch"] = Field(
        "OnRootMismatch",
        description="When a volume's files are changed to group fsGroup: at every mount, or only if its root does not "
        "belong to that group yet.",
    )
    supplemental_groups: list[GroupId] = Field(
        default_factory=list,
        max_length=16,
        description="Supplementary groups of the processes, e.g. the group of an NFS share.",
    )
    se_linux_options: SELinuxOptions | None = Field(None, description="SELinux context of the containers.")


class PodOverrides(Model):
    """Additions to the pods of every step."""

    labels: dict[ShortText, ShortText] = Field(
        default_factory=dict, max_length=32, description="Labels of the pods, in addition to the operator's own."
    )
    annotations: Annotated[
        dict[ShortText, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=32), TextLimit(16384)
    ] = Field(default_factory=dict, description="Annotations of the pods.")
    service_account_name: ShortText = Field(
        "", description="Service account of the pods, e.g. for workload identity. No API token is mounted."
    )
    image_pull_secrets: list[SecretReference] = Field(
        default_factory=list,
        max_length=8,
        description="Secrets with credentials for image registries, tried before those of the operator.",
    )
    env: Environment = Field(
        default_factory=list,
        description="Environment variables of every step. A step's own env takes precedence.",
    )
    node_selector: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="Labels that a node must have to run any step. A step's own nodeSelector takes precedence.",
    )
    tolerations: Tolerations = Field(
        default_factory=list, description="Tolerations of every step, added before the step's own."
    )
    affinity: Affinity = Field(default_factory=Affinity, description="Affinity of the pods, as in a pod spec.")
    volumes: list[Volume] = Field(
        default_factory=list, max_length=16, description="Volumes of every pod; four kinds are supported."
    )
    volume_mounts: list[VolumeMount] = Field(
        default_factory=list, max_length=16, description="Where the volumes are mounted in the containers."
    )
    security_context: PodSecurityContext | None = Field(
        None,
        description="Replaces the operator's default, which is fsGroup 65532 so that the steps can write to a volume "
        "that root owns. An empty object leaves fsGroup to the cluster, as on OpenShift.",
    )
    termination_grace_period_seconds: int | None = Field(
        None,
        ge=1,
        le=86400,
        description="Seconds that a step has after SIGTERM to save a checkpoint before it is killed; 30 if unset.",
    )
    scheduler_name: ShortText = Field("", description="Scheduler of the pods. If empty, the default scheduler is used.")

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!has(self.volumes) || self.volumes.all(v, self.volumes.exists_one(w, w.name == v.name))",
            "volume names must be unique",
            ".volumes",
        ),
        CelRule(
            "!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) &&"
            " self.volumes.exists(v, v.name == m.name))",
            "every volumeMount must refer to one of the volumes",
            ".volumeMounts",
        ),
        CelRule(
            "!has(self.volumeMounts) ||"
            " self.volumeMounts.all(m, self.volumeMounts.exists_one(n, n.mountPath == m.mountPath))",
            "every mountPath must be unique",
            ".volumeMounts",
        ),
    )

    @field_validator("volumes")
    @classmethod
    def _names_differ(cls, volumes: list[Volume]) -> list[Volume]:
        if len({volume.name for volume in volumes}) < len(volumes):
            raise ValueError("volume names must be unique")
        return volumes

    @field_validator("volume_mounts")
    @classmethod
    def _mounts_fit(cls, mounts: list[VolumeMount], info: ValidationInfo) -> list[VolumeMount]:
        volumes = {volume.name for volume in info.data.get("volumes", ())}
        if "volumes" in info.data and not all(mount.name in volumes for mount in mounts):
            raise ValueError("every volumeMount must refer to one of the volumes")
        if len({mount.mount_path for mount in mounts}) < len(mounts):
            raise ValueError("every mountPath must be unique")
        return mounts

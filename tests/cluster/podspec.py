"""PURE: what a pod's spec asks of a kubelet: environment, command, volumes and mounts.

Follows the kubelet's own rules and words (pkg/kubelet/kubelet_pods.go, third_party/forked/golang/expansion), because
the operator shows those words to its users. What the spec refers to is fetched elsewhere: `references` names it, the
other functions take it as `objects`, where None stands for "not found".
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Spec = Mapping[str, Any]
_SUFFIXES: dict[str, Fraction | int] = {"m": Fraction(1, 1000), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SUFFIXES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class Reference:
    """Something outside the pod that its spec needs; `name` of a Token is its audience."""

    kind: Literal["Secret", "ConfigMap", "Token"]
    name: str


Objects = Mapping[Reference, Mapping[str, bytes] | None]


class ContainerConfigError(Exception):
    """The container cannot be created yet: waiting reason CreateContainerConfigError, tried again."""


class MountError(Exception):
    """A volume cannot be set up yet: event FailedMount, tried again."""


@dataclass(frozen=True)
class Host:
    """What the node knows about itself and the pod's address."""

    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str]


@dataclass(frozen=True)
class VolumeFile:
    path: str
    data: bytes
    mode: int


@dataclass(frozen=True)
class Volume:
    """A volume to be made: an empty folder, a folder with files, a claim's folder, or a path of the host."""

    name: str
    kind: Literal["empty", "files", "claim", "host"]
    files: tuple[VolumeFile, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class VolumeMount:
    volume: str
    path: str
    sub_path: str
    read_only: bool


def references(pod: Spec) -> set[Reference]:
    """Every Secret, ConfigMap and service account token that the pod refers to."""
    found: set[Reference] = set()
    for container in all_containers(pod):
        for entry in container.get("env", []):
            source = entry.get("valueFrom") or {}
            found |= _named(source.get("secretKeyRef"), source.get("configMapKeyRef"))
        for entry in container.get("envFrom", []):
            found |= _named(entry.get("secretRef"), entry.get("configMapRef"))
    for volume in pod["spec"].get("volumes", []):
        if "secret" in volume:
            found.add(Reference("Secret", volume["secret"]["secretName"]))
        found |= _named(None, volume.get("configMap"))
        for source in (volume.get("projected") or {}).get("sources", []):
            found |= _named(source.get("secret"), source.get("configMap"))
            if "serviceAccountToken" in source:
                found.add(Reference("Token", source["serviceAccountToken"].get("audience", "")))
    return found


def all_containers(pod: Spec) -> list[Any]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(
    pod: Spec, container: Spec, objects: Objects, host: Host, services: Mapping[str, str]
) -> dict[str, str]:
    """The environment that the spec gives a container; what the image would bring is not known here, as in a kubelet.

    Args:
        pod: the pod.
        container: one of its containers.
        objects: what `references` named.
        host: the node's and the pod's addresses.
        services: the variables of services, which the spec may override and `$(NAME)` may name.

    Raises:
        ContainerConfigError: something that is not optional is missing.
    """
    result: dict[str, str] = {}
    for entry in container.get("envFrom", []):
        for kind, key in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
            if key in entry:
                data = _object(objects, kind, entry[key]) or {}
                prefix = entry.get("prefix", "")
                result |= {prefix + name: value.decode() for name, value in data.items()}
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            value = _value_from(pod, container, entry["valueFrom"], objects, host)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", {**services, **result})
        result[entry["name"]] = value
    return {**services, **result}


def command(container: Spec, env: Mapping[str, str]) -> list[str]:
    """The program and its arguments, with `$(NAME)` expanded. There is no image, so `command` must be set."""
    if not container.get("command"):
        raise ContainerConfigError("this node runs no images: the container must set a command")
    return [expand(word, env) for word in [*container["command"], *container.get("args", [])]]


def expand(text: str, env: Mapping[str, str]) -> str:
    """Expands `$(NAME)`; `$$` is a dollar, and an unknown name stays as it is (as in Kubernetes)."""
    out, at = [], 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at)) != -1:
            name = text[at + 2 : end]
            out.append(env.get(name, f"$({name})"))
            at = end + 1
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)


def volumes(pod: Spec, objects: Objects, host: Host) -> list[Volume]:
    """The pod's volumes.

    Raises:
        MountError: one cannot be set up, in the words of the kubelet's event.
    """
    found = []
    for volume in pod["spec"].get("volumes", []):
        name = volume["name"]
        try:
            found.append(_volume(pod, name, volume, objects, host))
        except ContainerConfigError as error:
            raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None
    return found


def mounts(container: Spec, made: Iterable[Volume]) -> list[VolumeMount]:
    """The container's mounts; volumes made of files are read-only, as on a real node."""
    kinds = {volume.name: volume.kind for volume in made}
    return [
        VolumeMount(
            mount["name"],
            mount["mountPath"],
            mount.get("subPath", ""),
            mount.get("readOnly", False) or kinds[mount["name"]] == "files",
        )
        for mount in container.get("volumeMounts", [])
    ]


def field(pod: Spec, path: str, host: Host) -> str:
    """The value of a `fieldRef` (downward API)."""
    name, _, key = path.partition("[")
    if key:
        part: Mapping[str, str] = pod["metadata"].get(name.removeprefix("metadata."), {})
        return part.get(key.rstrip("]").strip("'\""), "")
    match name:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(pod["metadata"][name.removeprefix("metadata.")])
        case "metadata.labels" | "metadata.annotations":
            items = sorted(pod["metadata"].get(name.removeprefix("metadata."), {}).items())
            return "\n".join(f'{key}="{_escaped(value)}"' for key, value in items)
        case "spec.nodeName" | "spec.serviceAccountName":
            return str(pod["spec"].get(name.removeprefix("spec."), ""))
        case "status.podIP" | "status.podIPs":
            return host.pod_ip
        case "status.hostIP" | "status.hostIPs":
            return host.host_ip
    raise ContainerConfigError(f"unsupported fieldPath: {path}")


def quantity(text: str) -> Fraction:
    """A Kubernetes quantity as an exact number: `500m` is 1/2."""
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.endswith(suffix):
            return Fraction(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    return Fraction(text)


def cpu_limit(container: Spec) -> int | None:
    """On how many CPUs the container may run at once: the limit, rounded up. None: there is no limit."""
    text = container.get("resources", {}).get("limits", {}).get("cpu")
    return None if text is None else max(1, math.ceil(quantity(str(text))))


def _volume(pod: Spec, name: str, volume: Spec, objects: Objects, host: Host) -> Volume:
    if "emptyDir" in volume:
        return Volume(name, "empty")
    if "persistentVolumeClaim" in volume:
        return Volume(name, "claim", source=volume["persistentVolumeClaim"]["claimName"])
    if "hostPath" in volume:
        return Volume(name, "host", source=volume["hostPath"]["path"])
    for kind in ("secret", "configMap", "downwardAPI"):
        if kind in volume:
            source = volume[kind]
            mode = source.get("defaultMode", 0o644)
            return Volume(name, "files", tuple(_files(pod, kind, source, mode, objects, host)))
    if "projected" in volume:
        mode = volume["projected"].get("defaultMode", 0o644)
        files: list[VolumeFile] = []
        for entry in volume["projected"].get("sources", []):
            for kind, source in entry.items():
                files += _files(pod, kind, source, mode, objects, host)
        return Volume(name, "files", tuple(files))
    raise ContainerConfigError(f"this node does not have volumes of type {next(iter(set(volume) - {'name'}), '?')}")


def _files(pod: Spec, kind: str, source: Spec, mode: int, objects: Objects, host: Host) -> list[VolumeFile]:
    if kind == "serviceAccountToken":
        token = objects.get(Reference("Token", source.get("audience", "")))
        if token is None:
            raise ContainerConfigError("failed to fetch token")
        return [VolumeFile(source["path"], token["token"], 0o600)]
    if kind == "downwardAPI":
        return [_downward_file(pod, item, mode, host) for item in source.get("items", [])]
    which = "Secret" if kind == "secret" else "ConfigMap"
    named = {"name": source.get("secretName") or source.get("name"), "optional": source.get("optional", False)}
    data = _object(objects, which, named)
    if data is None:
        return []
    if not source.get("items"):
        return [VolumeFile(key, value, mode) for key, value in data.items()]
    files = []
    for item in source["items"]:
        if item["key"] in data:
            files.append(VolumeFile(item["path"], data[item["key"]], item.get("mode", mode)))
        elif not named["optional"]:
            noun = "secret key" if which == "Secret" else "config key"
            raise ContainerConfigError(f"references non-existent {noun}: {item['key']}")
    return files


def _downward_file(pod: Spec, item: Spec, mode: int, host: Host) -> VolumeFile:
    if "fieldRef" in item:
        text = field(pod, item["fieldRef"]["fieldPath"], host)
    else:
        asked = item["resourceFieldRef"]
        container = next(one for one in all_containers(pod) if one["name"] == asked["containerName"])
        text = _resource(container, asked, host)
    return VolumeFile(item["path"], text.encode(), item.get("mode", mode))


def _value_from(pod: Spec, container: Spec, source: Spec, objects: Objects, host: Host) -> str | None:
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], host)
    if "resourceFieldRef" in source:
        return _resource(container, source["resourceFieldRef"], host)
    kind, ref = (
        ("Secret", source["secretKeyRef"]) if "secretKeyRef" in source else ("ConfigMap", source["configMapKeyRef"])
    )
    data = _object(objects, kind, ref)
    if data is not None and ref["key"] in data:
        return data[ref["key"]].decode()
    if ref.get("optional"):
        return None
    raise ContainerConfigError(f"couldn't find key {ref['key']} in {kind} {pod['metadata']['namespace']}/{ref['name']}")


def _resource(container: Spec, ref: Spec, host: Host) -> str:
    kind, _, resource = ref["resource"].partition(".")
    text = container.get("resources", {}).get(kind, {}).get(resource)
    if text is None:
        text = host.allocatable.get(resource, "0") if kind == "limits" else "0"
    return str(math.ceil(quantity(text) / (quantity(ref.get("divisor") or "1") or 1)))


def _object(objects: Objects, kind: Any, ref: Spec) -> Mapping[str, bytes] | None:
    data = objects.get(Reference(kind, ref["name"]))
    if data is None and not ref.get("optional"):
        raise ContainerConfigError(f'{kind.lower()} "{ref["name"]}" not found')
    return data


def _named(secret: Spec | None, config_map: Spec | None) -> set[Reference]:
    found = {Reference("Secret", secret["name"])} if secret else set()
    return found | ({Reference("ConfigMap", config_map["name"])} if config_map else set())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def object_data(kind: str, document: Spec) -> dict[str, bytes]:
    """The keys and bytes of a Secret or ConfigMap as the API server gave it."""
    decoded = {key: base64.b64decode(value) for key, value in (document.get("binaryData") or {}).items()}
    plain = document.get("data") or {}
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in plain.items()}
    return decoded | {key: value.encode() for key, value in plain.items()}

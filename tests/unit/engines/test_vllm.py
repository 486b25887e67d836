"""What is made of vLLM's refusals; vLLM itself, which takes seconds to import, is tested with the real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from llm2llm.engines.base import Student
from llm2llm.errors import ConfigurationError, GpuOutOfMemory, StepError

MODULE = "llm2llm.engines.vllm"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Our module over a vLLM that has a device and loads whatever it is asked to."""
    names: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": lambda **_: SimpleNamespace(), "SamplingParams": dict},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": lambda *given: given},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_unspecified=lambda: False)},
    }
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # which the engine sets
    import llm2llm.engines.vllm as ours

    yield ours
    del sys.modules[MODULE]


def load(ours: Any, student: Student, precision: str = "fp32") -> Any:
    return ours.VllmEngine(student, precision=precision, gpus=1, context=8)


WHOLE = Student(Path("model"), None, "none", eos=1)
CACHE = "To serve at least one request (8), (16 GiB KV cache is needed, which is larger than the available KV cache memory (2 GiB)."
NO_CACHE = (
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
)
FREE = "Free memory on device cuda:0 (3/80 GiB) on startup is less than desired GPU memory utilization (0.9, 72 GiB)."


def refusing(error: Exception) -> Callable[..., Any]:
    def refuse(**_: object) -> None:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        pytest.param(torch.cuda.OutOfMemoryError("CUDA out of memory"), GpuOutOfMemory, r"\(CUDA out of memory\): request a larger", id="weights that do not fit"),
        pytest.param(ValueError(CACHE), GpuOutOfMemory, r"16 GiB KV cache is needed", id="a cache that does not fit beside the weights"),
        pytest.param(ValueError(NO_CACHE), GpuOutOfMemory, r"several with tensorParallelSize$", id="no memory for a cache at all"),
        pytest.param(ValueError("Model architectures ['Own'] are not supported"), ConfigurationError,
                     r"^vLLM cannot serve this student: .*Own.*: set spec\.evaluate\.engine: Transformers$", id="an architecture"),
    ],
)  # fmt: skip
def test_what_vllm_refuses_for_good_is_not_tried_again(
    vllm: Any, monkeypatch: pytest.MonkeyPatch, refusal: Exception, error: type[StepError], words: str
) -> None:
    monkeypatch.setattr(vllm, "LLM", refusing(refusal))
    with pytest.raises(error, match=words) as caught:
        load(vllm, WHOLE)
    assert getattr(caught.value, "micro_batch", 1) == 1  # nothing smaller is left to try


@pytest.mark.parametrize("refusal", [ValueError(FREE), RuntimeError("Engine core initialization failed")])
def test_what_may_be_different_the_next_time_is_left_to_be_retried(
    vllm: Any, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    monkeypatch.setattr(vllm, "LLM", refusing(refusal))
    with pytest.raises(type(refusal)) as caught:
        load(vllm, WHOLE)
    assert caught.value is refusal


def test_a_machine_without_a_device_for_vllm_is_told_before_anything_is_loaded(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "LLM", refusing(AssertionError("it was loaded")))
    monkeypatch.setattr(vllm, "current_platform", SimpleNamespace(is_unspecified=lambda: True))
    with pytest.raises(ConfigurationError, match=r"request a GPU in spec\.evaluate\.resources, or set engine"):
        load(vllm, WHOLE)


@pytest.mark.parametrize(
    ("precision", "plugin", "words"),
    [
        pytest.param("fp32", True, r"spec\.evaluate\.precision: .*only in bf16", id="in fp32"),
        pytest.param("bf16", False, "does not contain vllm-bnb-plugin", id="without the plugin"),
    ],
)
def test_a_quantized_base_that_vllm_could_not_load_is_told_with_what_to_do(
    vllm: Any, monkeypatch: pytest.MonkeyPatch, precision: str, plugin: bool, words: str
) -> None:
    monkeypatch.setattr(vllm, "find_spec", lambda _: object() if plugin else None)
    quantized = Student(Path("model"), None, "nf4", eos=1)
    with pytest.raises(ConfigurationError, match=words):
        load(vllm, quantized, precision)
    load(vllm, WHOLE, precision)


@pytest.mark.parametrize(("rank", "kernels"), [(1, 8), (8, 8), (12, 16), (257, 320), (512, 512)])
def test_an_adapter_takes_the_kernels_of_the_next_rank_that_vllm_has(
    vllm: Any, tmp_path: Path, rank: int, kernels: int
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    assert vllm._adapter_settings(tmp_path)["max_lora_rank"] == kernels

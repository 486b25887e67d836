"""Checks an image from inside, as any user: `make image-test` runs this file in each image with a read-only root.

It asks what a build cannot show: that the command starts, that every library finds the libraries that it was linked
with (those of the GPU's driver come from the node), that nothing is left that installs, that a compiler is there only
where one is needed, and that it compiles what triton compiles at its first use on a GPU.
"""

from __future__ import annotations

import getpass
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

COMMANDS = {"operator": "llm2llm-operator", "generator": "llm2llm", "trainer": "llm2llm", "evaluator": "llm2llm"}
COMMON = "llm2llm.cli.main boto3 matplotlib.figure"
MODULES = {
    "operator": "llm2llm_operator.main kopf kubernetes.aio.client uvloop prometheus_client",
    "generator": f"{COMMON} huggingface_hub openai pyarrow.parquet tokenizers transformers",
    "trainer": f"{COMMON} torch transformers peft accelerate bitsandbytes safetensors.torch",
    "evaluator": f"{COMMON} torch vllm xgrammar peft openai bitsandbytes",
}
COMPILERS = {"evaluator": {"gcc"}}
OPTIONAL = re.compile(
    r"/bitsandbytes/libbitsandbytes_(cuda1[12]|rocm|xpu)|/nvshmem_(bootstrap|transport)_|/libcufile_rdma|/triton/plugins/"
    r"|/torchcodec/|/pynvvideocodec\.|/numba/np/ufunc/tbbpool\."
)
"""Libraries that are loaded only beside others, of which the image has no need: builds for other versions of CUDA and
other makers' GPUs, transports of networks, examples of plug-ins, decoders of video (vLLM brings two, which load what is
there), another way to start threads."""
LOADED_FIRST = ("torch", "tvm_ffi")
"""Packages that load the libraries in their folder `lib` before anybody else asks for them."""
OF_THE_NODE = ("libcuda.so", "libnvidia-ml.so", "libnvcuvid.so", "libnvidia-encode.so", "libnvidia-ptxjitcompiler.so")
"""Libraries of the GPU's driver, which the node's container runtime mounts."""


def main(arguments: list[str]) -> int:
    """Prints what is wrong with this image, a line each, and returns 1 if there is anything, else 0."""
    [image] = arguments
    found = [problem for check in (_start, _import, _link, _install, _compile, _identify) for problem in check(image)]
    for problem in found:
        print(f"{image}: {problem}", file=sys.stderr)
    if not found:
        print(f"{image}: as it should be, for UID {os.getuid()}")
    return 1 if found else 0


def _start(image: str) -> Iterator[str]:
    done = subprocess.run([COMMANDS[image], "--help"], capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"{COMMANDS[image]} --help ends with {done.returncode}: {done.stderr[-500:]}"


def _import(image: str) -> Iterator[str]:
    for module in MODULES[image].split():
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are imported, too
            yield f"import {module}: {type(error).__name__}: {error}"


def _link(_image: str) -> Iterator[str]:
    libraries = [path for path in sorted(Path(sys.prefix).rglob("*.so*")) if not path.is_symlink() and _is_elf(path)]
    # those of CUDA are loaded by torch, too
    loaded = {
        str(path.parent) for path in libraries if "/nvidia/" in str(path) or path.parent.parent.name in LOADED_FIRST
    }
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(sorted(loaded))}
    for library in libraries:
        if OPTIONAL.search(str(library)):
            continue
        listed = subprocess.run(["ldd", str(library)], capture_output=True, text=True, env=environment, check=False)
        for line in listed.stdout.splitlines():
            if "not found" in line and not line.strip().startswith(OF_THE_NODE):
                yield f"{library} does not find {line.strip()}"


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _install(_image: str) -> Iterator[str]:
    if importlib.util.find_spec("pip") or shutil.which("pip"):
        yield "pip is left"


def _compile(image: str) -> Iterator[str]:
    compilers = {name for name in ("gcc", "cc", "clang", "g++") if shutil.which(name)} - {"cc"}
    if compilers != COMPILERS.get(image, set()):
        yield f"the compilers are {sorted(compilers)}, not {sorted(COMPILERS.get(image, set()))}"
    elif compilers:
        yield from _compile_as_triton_does()


def _compile_as_triton_does() -> Iterator[str]:
    """Compiles triton's stub of the driver, linked with an empty stand-in for the driver's library."""
    build = importlib.import_module("triton.runtime.build")
    driver = importlib.import_module("triton.backends.nvidia.driver")
    source = Path(driver.__file__ or "").with_name("driver.c").read_text()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        empty = ["gcc", "-shared", "-x", "c", "/dev/null", "-o", str(path / "libcuda.so.1")]
        subprocess.run(empty, check=True)
        (path / "stub.c").write_text(source)
        try:
            built = build._build(  # noqa: SLF001 - there is no public way to compile without a GPU
                "cuda_utils", str(path / "stub.c"), folder, [folder], driver.include_dirs, driver.libraries, []
            )
        except Exception as error:  # noqa: BLE001 - the compiler's words
            yield f"triton's stub of the driver does not compile: {error}"
        else:
            if not Path(built).exists():
                yield "triton's stub of the driver was not written"


def _identify(_image: str) -> Iterator[str]:
    if os.getuid() == 65532 and getpass.getuser() != "llm2llm":  # noqa: PLR2004 - the Dockerfiles' own
        yield f"UID 65532 is called {getpass.getuser()}"
    home = os.environ.get("HOME", "")
    if not os.access(home, os.W_OK):
        yield f"HOME ({home!r}) cannot be written"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

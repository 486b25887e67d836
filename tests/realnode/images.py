"""The images, built from their Dockerfiles by `make images` with buildah, into a storage of their own in the cache.

Where no registry of images can be reached, the base is a stand-in for python:3.11-slim out of Debian's own packages:
the same release, the same Python, its headers, pip where the base image has it. Each layer is cached, so that a change
of our code builds the last layer anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.binaries import cache_folder, locked

CHECKOUT = Path(__file__).resolve().parents[2]
REGISTRY, TAG = "registry.test/llm2llm", "0.1.0"
PAUSE = "registry.test/pause:1"
PACKAGES = ("python3", "python3-pip", "libpython3.11-dev", "passwd", "ca-certificates")
NEEDED = ("buildah", "debootstrap", "make")
_BASE_STEPS = """
ln -sf /usr/bin/python3 usr/local/bin/python; ln -sf /usr/bin/python3 usr/local/bin/python3
packages=usr/local/lib/python3.11/site-packages; mkdir -p $packages; echo /$packages >usr/lib/python3/dist-packages/site.pth
mv usr/lib/python3/dist-packages/pip* usr/lib/python3/dist-packages/setuptools* usr/lib/python3/dist-packages/wheel* $packages
rm usr/bin/pip*; printf '%s\\n' '#!/usr/local/bin/python' 'from pip._internal.cli.main import main' 'main()' >usr/local/bin/pip
chmod +x usr/local/bin/pip
rm -rf usr/lib/python3*/EXTERNALLY-MANAGED var/cache/apt/archives/*.deb var/lib/apt/lists/*
"""
"""Python's commands and pip's packages to where the base image has them."""
_ENVIRONMENT = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def names() -> tuple[str, ...]:
    """The images that are built and run: by LLM2LLM_IMAGES, else all but the evaluator (9 GB)."""
    return tuple(os.environ.get("LLM2LLM_IMAGES", "operator generator trainer").split())


def folder() -> Path:
    """Where storage, archives and the base's file system lie."""
    return cache_folder() / "realnode"


def reference(image: str) -> str:
    """The name under which an image is built and run."""
    return f"{REGISTRY}/{image}:{TAG}"


def build(*images: str) -> None:
    """Builds the images from their Dockerfiles, with what is cached.

    Raises:
        RuntimeError: a program is missing, or a build failed; the message holds the end of what it said.
    """
    if missing := [program for program in NEEDED if shutil.which(program) is None]:
        raise RuntimeError(f"{', '.join(missing)} not found: apt-get install {' '.join(missing)}")
    folder().mkdir(parents=True, exist_ok=True)
    with locked(folder() / ".build.lock"):
        shutil.rmtree(folder() / "tmp", ignore_errors=True)
        base = _base()
        flags = " ".join(["--isolation", "chroot", "--layers", "--pull-never", *_mounts()])
        variables = {
            "IMAGES": " ".join(images),
            "BASE": base,
            "REGISTRY": REGISTRY,
            "TAG": TAG,
            "BUILDER": " ".join(_buildah()),
            "BUILD_FLAGS": flags,
        }
        _run(["make", "-C", str(CHECKOUT), "images", *(f"{name}={value}" for name, value in variables.items())])


def is_built(image: str) -> bool:
    """Whether the image was built before, perhaps from other code."""
    return bool(_run([*_buildah(), "images", "--quiet", "--filter", f"reference={reference(image)}"]).strip())


def identity(image: str) -> str:
    """The digest of an image's configuration, which stands for all that is in it."""
    return _run([*_buildah(), "images", "--quiet", "--no-trunc", image]).strip().removeprefix("sha256:")


@contextmanager
def archived(image: str) -> Iterator[Path]:
    """An archive of an image that containerd imports; gone at the end, since it is as large as the image."""
    path = folder() / f"{identity(image)}.tar"
    try:
        _run([*_buildah(), "push", "--quiet", image, f"docker-archive:{path}:{image}"])
        yield path
    finally:
        path.unlink(missing_ok=True)


def build_pause(program: Path) -> str:
    """Makes the image of a pod's sandbox out of a program that waits; returns its name."""
    with locked(folder() / ".build.lock"):
        if not _run([*_buildah(), "images", "--quiet", "--filter", f"reference={PAUSE}"]).strip():
            container = _run([*_buildah(), "from", "scratch"]).strip()
            _run([*_buildah(), "copy", container, str(program), "/pause"])
            _run([*_buildah(), "config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container])
            _run([*_buildah(), "commit", "--rm", container, PAUSE])
    return PAUSE


def _base() -> str:
    """Builds the base, unless it is there; returns its name, which says what it is made from."""
    recipe = " ".join(PACKAGES) + _BASE_STEPS + _ENVIRONMENT
    name = f"registry.test/python:{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if _run([*_buildah(), "images", "--quiet", "--filter", f"reference={name}"]).strip():
        return name
    root = folder() / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    _run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(root)])
    _run(["sh", "-ec", _BASE_STEPS], cwd=root)
    container = _run([*_buildah(), "from", "scratch"]).strip()
    packed = folder() / "rootfs.tar"
    _run(["tar", "-C", str(root), "--exclude=./dev/*", "--exclude=./etc/apt/sources.list*", "-cf", str(packed), "."])
    _run([*_buildah(), "add", "--quiet", container, str(packed), "/"])
    _run([*_buildah(), "config", "--env", _ENVIRONMENT, "--env", "LANG=C.UTF-8", "--cmd", "python3", container])
    _run([*_buildah(), "commit", "--quiet", "--rm", container, name])
    packed.unlink()
    shutil.rmtree(root)
    return name


def _mounts() -> Iterator[str]:
    """This machine's own configuration of pip and apt and its certificates, for the build only: nothing of them is in
    an image.
    """
    found = ["/etc/pip.conf", os.environ.get("PIP_CONFIG_FILE", ""), str(Path.home() / ".config/pip/pip.conf")]
    configuration = next((path for path in found if path and Path(path).is_file()), None)
    if configuration:
        yield f"--volume {configuration}:/etc/pip.conf:ro"
    for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/apt/sources.list", "/etc/apt/sources.list.d",
                 "/etc/apt/apt.conf.d"):  # fmt: skip
        if Path(path).exists():
            yield f"--volume {path}:{path}:ro"


def _buildah() -> list[str]:
    storage = ["--root", str(folder() / "storage"), "--runroot", str(folder() / "run")]
    return ["buildah", *storage, "--storage-driver", "overlay"]


def _run(command: list[str], *, cwd: Path | None = None) -> str:
    temporary = folder() / "tmp"  # a build that was killed leaves gigabytes: here they are found by the next one
    temporary.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run(["nice", *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{said}")
    return done.stdout

"""`python -m tests.realnode [--if-ready] [pytest's arguments]`: builds the images, and tests them on a real kubelet.

With `--if-ready` nothing is done, and told why, where something is missing that this takes, or where no image was built
before: on a new machine that takes longer than a check before each landing may.

Images are built first, with the network. The tests then run in network, mount and process namespaces of their own:
whatever they leave ends with them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from typing import NoReturn

from tests.cluster import binaries
from tests.realnode import images

NEEDED = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
FREE_BYTES, FREE_BYTES_FOR_THE_EVALUATOR = 15e9, 35e9
"""Beside what the cache has already: an archive of the largest image, and what containerd makes of it."""
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
# The shell is the first process of the new namespaces: it waits for pytest, and its end is everyone's.
FIRST = 'mount --make-rshared / && "$@" & wait $!'


IF_READY = "--if-ready"


def main(arguments: list[str]) -> int:
    """Becomes the test run, or returns 69 (0 with `--if-ready`) with a message if something that it takes is missing."""
    if_ready = IF_READY in arguments
    arguments = [argument for argument in arguments if argument != IF_READY]
    obstacles = list(_obstacles())
    if not obstacles and if_ready and not all(map(images.is_built, images.names())):
        obstacles = ["no images of an earlier time (make test-realnode builds them, ten minutes or more)"]
    if obstacles:
        lead = "the real node is left out: " if if_ready else ""
        print(f"{lead}{'; '.join(obstacles)}", file=sys.stderr)
        return 0 if if_ready else 69
    for build in (binaries.control_plane, binaries.helm, binaries.versitygw, binaries.kubelet, binaries.pause):
        build()
    images.build(*images.names())
    pytest = [sys.executable, "-m", "pytest", "-p", "no:randomly", "tests/realnode", *arguments]
    os.environ["LLM2LLM_REALNODE"] = "1"
    lock = (images.folder() / ".lock").open("w")
    os.set_inheritable(lock.fileno(), True)  # held until the last process here has ended
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another node runs at {images.folder()}", file=sys.stderr)
        return 75
    command = [*UNSHARE, "sh", "-c", FIRST, "sh", *pytest]
    return _become(command)  # whoever ends this process ends the namespaces and all that is in them


def _obstacles() -> Iterator[str]:
    """Yields what this takes and the machine does not have."""
    if os.geteuid() != 0:
        yield "this needs root"
    if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        yield f"apt-get install {' '.join(missing)}"
    images.folder().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(images.folder()).free
    needed = FREE_BYTES_FOR_THE_EVALUATOR if "evaluator" in images.names() else FREE_BYTES
    if free < needed:
        yield f"{free / 1e9:.0f} GB are free at {images.folder()}, {needed / 1e9:.0f} GB are needed"


def _become(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

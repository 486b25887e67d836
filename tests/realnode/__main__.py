"""`python -m tests.realnode [pytest's arguments]`: builds the images, and tests them on a real kubelet.

Images are built first, with the network. The tests then run in network, mount and process namespaces of their own:
whatever they leave ends with them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
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
FREE_BYTES = 15e9
"""Beside what the cache has already: an archive of the largest image, and what containerd makes of it."""
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
# The shell is the first process of the new namespaces: it waits for pytest, and its end is everyone's.
FIRST = 'mount --make-rshared / && "$@" & wait $!'


def main(arguments: list[str]) -> int:
    """Becomes the test run, or returns 69 with a message if something that it takes is missing."""
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        root = "" if os.geteuid() == 0 else "this needs root\n"
        print(f"{root}{'apt-get install ' + ' '.join(missing) if missing else ''}".strip(), file=sys.stderr)
        return 69
    images.folder().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(images.folder()).free
    if free < FREE_BYTES:  # the kubelet deletes images where there is little, and its node takes no pods
        print(
            f"{free / 1e9:.0f} GB are free at {images.folder()}, {FREE_BYTES / 1e9:.0f} GB are needed", file=sys.stderr
        )
        return 69
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


def _become(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

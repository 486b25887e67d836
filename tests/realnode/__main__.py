"""`python -m tests.realnode [pytest's arguments]`: builds the images, and tests them on a real kubelet.

Images are built first, with the network. The tests then run in network, mount and process namespaces of their own:
whatever they leave ends with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

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
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
# The shell is the first process of the new namespaces: it waits for pytest, and its end is everyone's.
FIRST = 'mount --make-rshared / && "$@" & wait $!'


def main(arguments: list[str]) -> int:
    """Returns pytest's exit code, or 69 with a message if something that it takes is missing."""
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        root = "" if os.geteuid() == 0 else "this needs root\n"
        print(f"{root}{'apt-get install ' + ' '.join(missing) if missing else ''}".strip(), file=sys.stderr)
        return 69
    for build in (binaries.control_plane, binaries.helm, binaries.versitygw, binaries.kubelet, binaries.pause):
        build()
    images.build(*images.names())
    pytest = [sys.executable, "-m", "pytest", "-p", "no:randomly", "tests/realnode", *arguments]
    environment = os.environ | {"LLM2LLM_REALNODE": "1"}
    return subprocess.run([*UNSHARE, "sh", "-c", FIRST, "sh", *pytest], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

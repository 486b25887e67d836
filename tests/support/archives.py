"""A support archive, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpacked(file: Path) -> dict[str, str]:
    """Path below the archive's only folder to content."""
    found = {}
    with tarfile.open(file) as archive:
        for entry in archive.getmembers():
            stream = archive.extractfile(entry)
            assert stream is not None
            folder, _, path = entry.name.partition("/")
            assert folder.endswith("-bundle")
            found[path] = stream.read().decode()
    return found

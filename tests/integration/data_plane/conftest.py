from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.data_plane.bench import Bench


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained student; torch keeps to one thread, so that equal seeds give equal bytes."""
    import torch
    from tests.support.keyword import write_student

    torch.set_num_threads(1)
    return write_student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)

"""The example's data, small, for all runs of `llm2llm run`."""

from __future__ import annotations

import pytest
from tests.integration.local.workplace import Whole, Workplace, run
from tests.support.keyword import make_example
from tests.support.teacher import Teacher

EVALUATION_ROWS = 200


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    data = make_example(tmp_path_factory.mktemp("data"))
    rows = (data / "evaluation.jsonl").read_text().splitlines(keepends=True)
    (data / "few.jsonl").write_text("".join(rows[:: len(rows) // EVALUATION_ROWS]))
    (data / "others.jsonl").write_text("".join(rows[1 :: len(rows) // EVALUATION_ROWS]))
    seeds = (data / "seed.jsonl").read_text().splitlines(keepends=True)
    (data / "seed.jsonl").write_text("".join(seeds[::3]))
    return Workplace(data)


@pytest.fixture(scope="session")
def whole(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An uninterrupted run, which nobody changes."""
    out = tmp_path_factory.mktemp("whole")
    with Teacher() as teacher:
        done = run(workplace.command(out, teacher))
        assert done.returncode == 0, done.stderr
        assert teacher.stats()["repeated"] == 0
        return Whole(out, done.stdout, teacher.stats()["answered"])

"""The example's data, small, for all runs of `llm2llm run`."""

from __future__ import annotations

import pytest
from tests.integration.local.workplace import Workplace
from tests.support.keyword import make_example

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

"""The client of runs on this machine, with the example's run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.integration.local.workplace import Workplace
from tests.support.keyword import EXAMPLE
from tests.support.teacher import KEY, Teacher

from llm2llm.client import connect
from llm2llm.client.manifest import document_of
from llm2llm.errors import ConfigurationError
from llm2llm.manifests.documents import set_fields


def example(workplace: Workplace, teacher: Teacher, *further: str) -> dict[str, Any]:
    """The example's run over the data of the tests, as a document."""
    command = workplace.command(Path("none"), teacher, *further)
    settings = [setting for option, setting in pairwise(command) if option == "--set"]
    return set_fields(document_of(EXAMPLE / "run.yaml"), settings)


def test_a_run_goes_from_create_to_its_best_student_and_another_client_finds_it(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with Teacher() as teacher:
        document = example(workplace, teacher, "--set", "spec.maxIterations=1")
        client = connect(workdir=tmp_path / "out", secrets={"teacher/api-key": KEY})
        assert client.create(document).phase in ("Pending", "Running")
        with pytest.raises(ConfigurationError, match="keyword is running"):
            client.create(document)
        told = list(client.get_logs("keyword", follow=True))
        run = client.wait("keyword", timeout=300)
    assert (run.phase, run.best) == ("Succeeded", 0), run.message
    assert any("evaluate" in line for line in told)
    [iteration] = run.iterations
    assert iteration.score is not None
    assert iteration.train_rows == 80
    assert Path(run.model_uri.removeprefix("file://"), "adapter_config.json").exists()

    later = connect(workdir=tmp_path / "out")
    assert later.list() == [run]
    assert any('"loss"' in line for line in later.get_logs("keyword", stage="Train", iteration=0))
    with pytest.raises(ConfigurationError, match="no log of this step"):
        list(later.get_logs("keyword", stage="Generate"))
    later.delete("keyword")
    assert later.list() == []
    assert Path(run.artifacts.removeprefix("file://")).is_dir()


def test_a_run_that_is_deleted_ends(workplace: Workplace, tmp_path: Path):
    client = connect(workdir=tmp_path / "out", secrets={"teacher/api-key": KEY})
    with Teacher() as teacher:
        client.create(example(workplace, teacher))
        client.delete("keyword")
    with pytest.raises(ConfigurationError, match="there is no run keyword"):
        client.get("keyword")

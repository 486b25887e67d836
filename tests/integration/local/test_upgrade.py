"""A work folder goes on under another release: one that has a field more, and another default for one that nobody set.

The other release is a copy of the package with these two changes, as whoever adds a field would make them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.local.workplace import Workplace, digests, run
from tests.support.keyword import CHECKOUT
from tests.support.teacher import Teacher

CHANGES = {
    'weight_decay: PositiveDecimal = Field("0", description="Weight decay coefficient of AdamW.")': """\
weight_decay: PositiveDecimal = Field("0", description="Weight decay coefficient of AdamW.")
    beta: PositiveDecimal = Field("0.9", description="Of AdamW.", json_schema_extra=added_later("0.9"))
""",
    "use_rslora: bool = Field(\n        False,": "use_rslora: bool = Field(\n        True,",
    "from llm2llm.api.base import IDENTITY,": "from llm2llm.api.base import added_later, IDENTITY,",
}
ONE = ("--set", "spec.maxIterations=1")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where Python finds each release."""
    folder = tmp_path_factory.mktemp("later")
    shutil.copytree(CHECKOUT / "images" / "llm2llm", folder / "llm2llm")
    stages = folder / "llm2llm" / "api" / "stages.py"
    text = stages.read_text()
    for before, after in CHANGES.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    stages.write_text(text)
    return {"this": str(CHECKOUT / "images"), "later": str(folder)}


@pytest.mark.turns("local: releases")
@pytest.mark.parametrize(("first", "second"), [("this", "later"), ("later", "this")])
def test_fault_57_a_run_that_one_release_began_goes_on_under_the_other(
    workplace: Workplace, releases: dict[str, str], tmp_path: Path, first: str, second: str
):
    out = tmp_path / "out"
    with Teacher() as teacher:
        begun = run(workplace.command(out, teacher, *ONE), PYTHONPATH=releases[first])
        assert begun.returncode == 0, begun.stderr
        before = digests(out)
        paid = teacher.stats()["requests"]

        again = run(workplace.command(out, teacher, *ONE), PYTHONPATH=releases[second])
        assert again.returncode == 0, again.stderr
        assert digests(out) == before
        assert teacher.stats()["requests"] == paid

        more = run(workplace.command(out, teacher), PYTHONPATH=releases[second])
        assert more.returncode == 0, more.stderr
    after = digests(out)
    assert before.items() <= after.items()
    assert any("iterations/001/train" in folder for folder in after)
    manifests = [json.loads(path.read_text()) for path in sorted(out.rglob("iterations/*/train/manifest.json"))]
    assert {manifest["keyFields"]["train.lora"]["useRslora"] for manifest in manifests} == {first == "later"}
    assert all("beta" not in manifest["keyFields"]["train.hyperparameters"] for manifest in manifests)


def test_what_the_user_changes_is_told_whatever_the_release(
    workplace: Workplace, releases: dict[str, str], tmp_path: Path
):
    out = tmp_path / "out"
    with Teacher() as teacher:
        begun = run(workplace.command(out, teacher, *ONE), PYTHONPATH=releases["this"])
        assert begun.returncode == 0, begun.stderr
        beta = ("--set", "spec.train.hyperparameters.beta=0.8")
        refused = run(workplace.command(out, teacher, *ONE, *beta), PYTHONPATH=releases["later"])
        assert refused.returncode == 70
        assert 'spec.train.hyperparameters.beta was null, is now "0.8"' in refused.stderr
        scale = ("--set", "spec.train.lora.useRslora=true")
        refused = run(workplace.command(out, teacher, *ONE, *scale), PYTHONPATH=releases["later"])
        assert refused.returncode == 70
        assert "spec.train.lora.useRslora was false, is now true" in refused.stderr

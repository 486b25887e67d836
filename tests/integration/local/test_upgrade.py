"""A work folder goes on under another release.

One release is a copy of the package with a field more and with another default for one that nobody set, as whoever adds
a field would make them; another is the package as it was at an earlier commit.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.local.workplace import Workplace, digests, environment, run
from tests.support.former import unpack
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
FORMER = "00c09cf8609b2b76f7c7b414f1897d14a444eebf"
"""A commit before the package was divided into rooms, whose runs people still have."""
ONE = ("--set", "spec.maxIterations=1")


def content_keys(out: Path) -> set[str]:
    return {json.loads(path.read_text())["contentKey"] for path in out.rglob("manifest.json")}


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


@pytest.mark.turns("local: releases")
def test_fault_57_a_run_of_a_former_release_is_found_done_and_its_answers_are_not_paid_for_again(
    workplace: Workplace, tmp_path: Path
):
    former = unpack(FORMER, tmp_path / "former", "images")
    out = tmp_path / "out"
    with Teacher() as teacher:
        command = [sys.executable, "-m", "llm2llm.cli", *workplace.command(out, teacher)]
        begun = subprocess.run(
            command,
            env=environment(PYTHONPATH=str(former / "images")),
            capture_output=True,
            text=True,
            check=False,
        )
        assert begun.returncode == 0, begun.stderr
        before, keys = digests(out), content_keys(out)
        paid = teacher.stats()["requests"]
        assert paid > 200

        again = run(workplace.command(out, teacher))
        assert again.returncode == 0, again.stderr
        assert (digests(out), content_keys(out)) == (before, keys)

        [generated] = out.rglob("generate/manifest.json")
        generated.unlink()  # as if it had been killed before its commit: the ledger alone has the answers
        more = run(workplace.command(out, teacher))
        assert more.returncode == 0, more.stderr
        assert (digests(out), content_keys(out)) == (before, keys)
        assert teacher.stats()["requests"] == paid

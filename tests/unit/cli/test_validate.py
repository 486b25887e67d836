"""`llm2llm validate` reports every problem with its path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm2llm.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
RUN = ROOT / "examples" / "keyword" / "run.yaml"


def test_the_example_is_valid(capsys: pytest.CaptureFixture[str]):
    assert main(["validate", str(RUN.parent)]) == 0
    assert "AugmentationRun keyword is valid" in capsys.readouterr().out


def test_all_problems_are_told_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    document = yaml.safe_load(RUN.read_text())
    document["metadata"]["name"] = "Bad.Name"
    document["spec"] |= {"train": {"lora": {"r": 0}}, "student": {}}
    (tmp_path / "run.yaml").write_text(json.dumps(document))
    assert main(["validate", str(tmp_path / "run.yaml")]) == 64
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_spec_that_no_step_in_a_cluster_could_be_given_is_told_before_it_is_applied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    document = yaml.safe_load(RUN.read_text())
    variables = [{"name": f"X{number}", "value": "x" * 4000} for number in range(4)]
    blocks = {block: {"env": variables} for block in ("podOverrides", "prepare", "train")}
    for code, more, iterations in (
        (0, "", 1),
        (64, "x" * 4000, 1),
        (64, "$" * 700, 1),  # six bytes each: a kubelet expands it
        (64, "\u00fc" * 700, 1),
        (0, "x" * 700, 1),
        (64, "x" * 700, 64),  # the last step reads the output of all rounds
    ):
        env = [*variables[:3], {"name": "Y", "value": more}]
        document["spec"] |= {**blocks, "evaluate": {"env": env}, "maxIterations": iterations}
        (tmp_path / "run.yaml").write_text(json.dumps(document))
        assert main(["validate", str(tmp_path / "run.yaml")]) == code, (more[:1], iterations)
        words = "spec: in a cluster, the step document has " if code else ""
        assert capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("a: [", "x.yaml, line 2, column 1: a value is missing, or a bracket", id="no YAML"),
        pytest.param("", "found no document of kind AugmentationRun", id="an empty file"),
        pytest.param("[1, 2]", "a document has no kind", id="no mapping"),
        pytest.param("kind: Secret\ndata: {a: b}", "a Secret has no metadata.name", id="a broken Secret"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str):
    (tmp_path / "x.yaml").write_text(text)
    assert main(["validate", str(tmp_path / "x.yaml")]) == 64
    assert told in capsys.readouterr().err


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]):
    assert main(["validate", "/nowhere/run.yaml"]) == 64
    assert "/nowhere/run.yaml: no such file" in capsys.readouterr().err


def test_validate_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'openai', 'boto3', 'rich.live'}"
    code = f"import sys; from llm2llm.cli.main import main; main(['validate', {str(RUN)!r}]); print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "images")
    assert done.stdout.splitlines()[-1] == "set()"

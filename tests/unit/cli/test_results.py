"""The commands that show a run's results, as a user types them; what they show is in tests/unit/results/test_views.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.support import builders
from tests.support.steps import commit_step, step_of

from llm2llm.cli.main import main
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.records import Example, Lineage, Prediction, Stage, to_jsonl
from llm2llm.storage import LocalStore

Output = pytest.CaptureFixture[str]
SEEDS = [Example(id=f"s{number}", fields={"prompt": f"question {number}"}, completion="x") for number in range(2)]


@pytest.fixture
def work(tmp_path: Path) -> str:
    """A work folder with a run of one round, whose student is wrong about every seed row."""
    store = LocalStore(tmp_path / "default" / "keyword")
    store.write(RECORD, RunRecord(name="keyword", namespace="team", uid="u", spec=builders.spec()).to_json().encode())
    commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": to_jsonl(SEEDS)})
    commit_step(store, step_of(Stage.TRAIN))
    answers = to_jsonl(Prediction(id=seed.id, output="y", correct=False, verdict="wrong") for seed in SEEDS)
    commit_step(
        store, step_of(Stage.EVALUATE), {"predictions.seed.jsonl": answers, "predictions.evaluation.jsonl": b""}
    )
    row = SEEDS[0].model_copy(update={"id": "n0", "lineage": Lineage(seed="s0", parent="s0")})
    rejected = b'{"id":"n1","reason":"leak","detail":"d","text":"t","lineage":{"seed":"s1"}}\n'
    commit_step(store, step_of(Stage.GENERATE), {"synthetic.jsonl": to_jsonl([row]), "rejected.jsonl": rejected})
    return str(tmp_path)


def printed(capsys: Output, *arguments: str) -> list[dict[str, str]]:
    assert main([*arguments, "-o", "json"]) == 0
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


def test_mistakes_samples_and_suspects_of_a_work_folder(work: str, capsys: Output):
    assert [row["id"] for row in printed(capsys, "mistakes", work, "-i", "0", "--set", "seed")] == ["s0", "s1"]
    assert [row["id"] for row in printed(capsys, "samples", work)] == ["n0"]
    assert [row["reason"] for row in printed(capsys, "samples", work, "--rejected")] == ["leak"]
    assert printed(capsys, "suspects", work) == []


def test_a_table_is_for_people(work: str, capsys: Output):
    assert main(["suspects", work]) == 0
    assert capsys.readouterr().out == "No seed row was wrong in three or more iterations.\n"


def test_csv_has_its_header_also_without_rows(work: str, capsys: Output):
    assert main(["suspects", work, "-o", "csv"]) == 0
    assert capsys.readouterr().out == "id,prompt,label,wrong,answers\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["mistakes", "--set", "eval"], 2, "'eval' is not one of 'seed', 'probe', 'evaluation'"),
        (["mistakes", "--set", "probe"], 64, "answered no probe rows"),
        (["mistakes", "--label", "z"], 64, "no row has the right answer 'z' (the answers are x)"),
        (["samples", "-i", "99"], 64, "there is no iteration 99; the iterations are 0"),
    ],
)
def test_what_there_cannot_be_is_told(work: str, capsys: Output, arguments: list[str], code: int, words: str):
    command, *options = arguments
    assert main([command, work, *options]) == code
    assert words in " ".join(capsys.readouterr().err.replace("│", "").split())


@pytest.mark.parametrize("command", ["mistakes", "samples", "suspects"])
def test_a_run_without_its_rows_is_not_one_without_mistakes(work: str, capsys: Output, command: str):
    shutil.rmtree(Path(work) / "default" / "keyword" / "inputs")
    assert main([command, work]) == 70
    assert "the run's rows are gone" in capsys.readouterr().err


def test_a_run_without_a_row_in_common_is_not_compared(work: str, capsys: Output):
    assert main(["compare", work, work]) == 64
    assert "have no scored row in common" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["mistakes", "samples", "suspects"])
def test_what_cannot_be_read_ends_with_64_and_its_words(tmp_path: Path, command: str, capsys: Output):
    assert main([command, str(tmp_path)]) == 64
    assert "found no run" in capsys.readouterr().err
    assert main([command, str(tmp_path / "none")]) == 64
    assert "no such file or folder" in capsys.readouterr().err


def test_each_command_shows_an_example(capsys: Output, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    for command in ("mistakes", "samples", "suspects", "compare", "report"):
        assert main([command, "--help"]) == 0
        assert f"Example: llm2llm {command}" in capsys.readouterr().out

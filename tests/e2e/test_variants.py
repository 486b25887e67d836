"""The other ways through the loop as Jobs: mistakes of a held-out fold, and a teacher of one's own in the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import job_names
from tests.support.install import OperatorProcess
from tests.support.platform import BUCKET, Platform
from tests.support.rights import OPERATOR_USER

from llm2llm.loop.outcomes import CLOSING
from llm2llm.loop.probing import FOLDS


def rows_of(platform: Platform, uri: str, name: str) -> list[dict[str, Any]]:
    """The rows of the one file of this name below an address."""
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    client = platform.client()
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    (key,) = [entry["Key"] for entry in listed if entry["Key"].endswith(f"/{name}")]
    return [json.loads(line) for line in client.get_object(Bucket=BUCKET, Key=key)["Body"].read().splitlines()]


@pytest.mark.turns("e2e: runs that go on")
def test_probing_runs_ask_a_fold_that_they_did_not_train_on_and_close_with_all_rows(
    platform: Platform, operator: OperatorProcess, team: str
):
    document = platform.manifest(maxIterations=2, errorsFrom="Probe")
    document["spec"]["train"]["resources"] = {"limits": {"nvidia.com/gpu": "2"}}  # the node only counts them
    platform.apply(team, document)
    status = platform.wait_for_end(team)
    assert status["phase"] == "Succeeded", status
    assert status["usage"]["gpuSeconds"] > 0

    rows = status["iterations"]
    assert [row["index"] for row in rows] == [0, 1, CLOSING + 2]
    assert rows[0]["trainExamples"] == 240 - 240 // FOLDS
    kept = [row.get("kept", 0) for row in rows]
    assert kept[0] > 0
    assert rows[-1]["trainExamples"] == 240 + sum(kept)
    uri = f"{status['artifactsUri']}/iterations"
    folds = [
        {row["id"] for row in rows_of(platform, f"{uri}/{i:03d}/evaluate/", "predictions.probe.jsonl")} for i in (0, 1)
    ]
    assert [len(fold) for fold in folds] == [240 // FOLDS] * 2
    assert not folds[0] & folds[1]
    assert status["best"]["iteration"] == CLOSING + 2


@pytest.mark.turns("engines")
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_teacher_in_the_step_writes_rows_without_any_endpoint(
    platform: Platform, operator: OperatorProcess, team: str, tmp_path: Path
):
    from tests.support.chatmodel import write_chat_model

    write_chat_model(tmp_path / "teacher")
    for path in sorted((tmp_path / "teacher").iterdir()):
        platform.client().upload_file(str(path), BUCKET, f"teacher/{path.name}")
    document = platform.manifest(maxIterations=2)
    document["spec"]["generate"] = {
        "mode": "Local",
        "teacher": {
            "model": "nonsense",
            "source": {"uri": f"s3://{BUCKET}/teacher"},
            "parameters": {"max_tokens": "300"},
        },
        "examplesPerMistake": 1,
        "filters": {"minAcceptance": "0.01"},
        "env": [{"name": name, "value": "1"} for name in ("VLLM_CPU_KVCACHE_SPACE", "OMP_NUM_THREADS")],
    }
    platform.apply(team, document)
    status = platform.wait_for_end(team, timeout=600)
    assert status["phase"] == "Succeeded", status

    first = status["iterations"][0]
    assert first["kept"] > 0
    assert status["usage"]["teacherRequests"] >= first["mistakes"]
    assert status["iterations"][1]["trainExamples"] == 240 + first["kept"]
    rows = rows_of(platform, f"{status['artifactsUri']}/iterations/000/generate/", "synthetic.jsonl")
    assert {row["lineage"]["teacher"] for row in rows} == {"nonsense"}
    assert job_names(platform.writes(OPERATOR_USER, team)).count("i000-generate-a0") == 1

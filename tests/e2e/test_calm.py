from __future__ import annotations

from tests.e2e.conftest import EVALUATION_ROWS, CalmRun, job_names
from tests.support.platform import BUCKET, Platform


def test_a_run_goes_from_apply_to_the_best_adapter_within_its_budget_of_writes(platform: Platform, calm: CalmRun):
    status = calm.status
    assert status["phase"] == "Succeeded", status
    assert [row["trainExamples"] for row in status["iterations"]] == [240, 240 + status["iterations"][0]["kept"]]
    assert status["seedCount"] == 240
    assert status["evaluationCount"] == EVALUATION_ROWS

    prefix = status["best"]["modelUri"].removeprefix(f"s3://{BUCKET}/")
    listed = platform.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    names = {entry["Key"].rsplit("/", 1)[1] for entry in listed["Contents"]}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names

    budgeted, later = (
        [write for write in writes if write["resource"] != "events"] for writes in (calm.writes, calm.later)
    )
    assert job_names(calm.writes) == [
        "i000-evaluate-a0", "i000-generate-a0", "i000-train-a0", "i001-evaluate-a0", "i001-train-a0", "prepare-a0",
    ]  # fmt: skip
    assert len(budgeted) <= 4 * 6 + 4, budgeted
    assert later == budgeted

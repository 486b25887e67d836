"""A whole run with a real instruct model (SmolLM2-135M: its tokenizer, its chat template) and a teacher of real rows.

That a student learns is measured elsewhere; this shows that a model which nobody made for these tests goes through
every stage, and that a second command finds it done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.local.workplace import digests, run
from tests.support.poolteacher import Pool, PoolRow, serve
from tests.support.smollm2 import smollm2_folder

LABELS = ("weather", "music", "books")
TEXTS = {
    "weather": [
        "Will I need an umbrella in Lisbon tomorrow?", "Is it going to freeze tonight?", "How hot does it get in Cairo?",
        "Tell me whether the fog lifts before noon.", "Should I expect thunder this weekend?",
        "What is the wind like on the coast today?", "Any chance of snow by Friday?", "When does the rain stop?",
    ],
    "music": [
        "Put on something slow with a saxophone.", "Play the second track again.", "Skip to the next song, please.",
        "I want to hear the new single by that band.", "Turn the chorus up louder.", "Shuffle my running list.",
        "Play a waltz for two pianos.", "Start the album from the beginning.",
    ],
    "books": [
        "Give the novel I finished four stars out of five.", "Find a short story set on a ship.",
        "Who wrote the play about the lighthouse?", "Add this biography to what I want to read.",
        "I rate the third volume a two.", "Is the sequel out in paperback?", "Look up the author of that saga.",
        "Mark the essay collection as read.",
    ],
}  # fmt: skip


def rows(*places: int) -> list[dict[str, str]]:
    return [{"text": TEXTS[label][place], "label": label} for place in places for label in LABELS]


def manifest(folder: Path, base_url: str) -> Path:
    for name, chosen in (("seed", rows(0, 1, 2)), ("evaluation", rows(3, 4))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    fields = {"prompt": "text", "completion": "label"}
    spec: dict[str, Any] = {
        "maxIterations": 2,
        "task": {
            "promptTemplate": "Which of weather, music and books is this about?\n{{ prompt }}",
            "grader": {"type": "Choice"},
            "labels": [*LABELS],
        },
        "data": {
            "seed": {"uri": (folder / "seed.jsonl").as_uri(), "fields": fields},
            "evaluation": {"uri": (folder / "evaluation.jsonl").as_uri()},
        },
        "student": {"model": {"uri": smollm2_folder().as_uri()}},
        "artifacts": {"uri": "s3://replaced/by-the-work-folder"},
        "train": {
            "lora": {"r": 4, "alpha": 8},
            "hyperparameters": {"numTrainEpochs": 1, "effectiveBatchSize": 4, "maxLength": 96},
            "minSteps": 1,
        },
        "evaluate": {"engine": "Transformers"},
        "generate": {
            "teacher": {"model": "pool", "baseUrl": base_url},
            "examplesPerMistake": 1,
            "filters": {"minAcceptance": "0.01"},
        },
    }
    document = {
        "apiVersion": "llm2llm.dev/v1alpha1",
        "kind": "AugmentationRun",
        "metadata": {"name": "real"},
        "spec": spec,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.timeout(900)  # the model is converted once for a machine
def test_a_real_model_goes_through_every_stage_and_a_second_command_finds_it_done(tmp_path: Path) -> None:
    rows = [PoolRow(text, label) for label in LABELS for text in TEXTS[label][5:]]
    pool = Pool(rows)
    with serve(pool) as teacher:
        path = manifest(tmp_path, teacher.base_url)
        command = ["run", str(path), "--workdir", str(tmp_path / "out")]
        done = run(command)
        assert done.returncode == 0, done.stderr + done.stdout
        left = pool.left()
        assert left < len(rows)

        before = digests(tmp_path / "out")
        again = run(command)
        assert again.returncode == 0, again.stderr
        assert digests(tmp_path / "out") == before
        assert pool.left() == left
    assert {folder.rsplit("/", 2)[1] for folder in before} == {"inputs", "train", "evaluate", "generate"}
    [root] = (tmp_path / "out").glob("*/*/run.json")
    rows_of_round = (root.parent).glob("iterations/000/generate/data/*/synthetic.jsonl")
    written = [json.loads(line) for file in rows_of_round for line in file.read_text().splitlines()]
    assert written
    assert {row["fields"]["prompt"] for row in written} <= {row.text for row in rows}
    verified = run(["verify", str(tmp_path / "out")])
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.splitlines()[-1].endswith("0 problems")

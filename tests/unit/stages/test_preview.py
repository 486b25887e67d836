"""What a run sends and receives for a few seed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import builders
from tests.support.mockteacher import body, mocked

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import Transient
from llm2llm.models.tokenizer import StudentTokenizer
from llm2llm.records import Example, Stage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages import preview
from llm2llm.storage import LocalStore
from llm2llm.teacher import connection

SEEDS = [
    Example(id=f"seed-{number}", fields={"prompt": f"the sentence of number {number}"}, completion="yes")
    for number in range(9)
]
TOKENS = StudentTokenizer(lambda texts, _: [[ord(letter) for letter in text] for text in texts], lambda _: "", 0)


def row(prompt: str) -> str:
    return json.dumps({"prompt": prompt, "completion": "yes"})


@pytest.fixture
def previewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Previews rows of a run whose teacher gives these answers in turn."""
    monkeypatch.setattr(preview, "manifest_in", lambda *_: object())
    monkeypatch.setattr(preview, "read_examples", lambda _, __, name: SEEDS if name == "seed.jsonl" else [])
    monkeypatch.setattr(preview, "_tokenizer", lambda *_: TOKENS)

    def run(number: int, *answers: httpx.Response, **spec: Any) -> tuple[list[preview.PreviewedRow], int]:
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return answers[(len(asked) - 1) % len(answers)]

        monkeypatch.setattr(connection, "_http_client", lambda *_: mocked(answer))
        given = AugmentationRunSpec.model_validate(builders.spec(**spec))
        step = Step(stage=Stage.PREPARE, namespace="team", run="run", run_uid="uid", spec=given)
        store = LocalStore(tmp_path / "runs")
        rows = preview.preview_rows(step, store, StepContext("pod", tmp_path), number)
        assert list(store.list("")) == []
        return rows, len(asked)

    return run


def ok(text: str) -> httpx.Response:
    return httpx.Response(200, content=body(text))


def test_rows_from_all_over_the_set_are_shown_with_tokens_messages_and_verdicts(previewed: Any):
    rows, asked = previewed(3, ok(row("a wholly different one")))
    assert [one.example.id for one in rows] == ["seed-0", "seed-3", "seed-6"]
    assert asked == 3
    assert rows[0].prompt_tokens == len(rows[0].prompt)
    assert rows[0].completion_tokens == len("yes") + 1
    assert "the sentence of number 3" in rows[1].messages[-1]["content"]
    assert [one.written.verdict.reason for one in rows] == ["", "copy", "copy"]  # of the first, as in a round
    assert all(one.written.usage.teacher_requests == 1 for one in rows)


def test_there_are_no_more_rows_than_seeds(previewed: Any):
    rows, asked = previewed(50, ok(row("a wholly different one")))
    assert (len(rows), asked) == (len(SEEDS), len(SEEDS))


def test_prose_is_shown_with_what_is_wrong_with_it(previewed: Any):
    [one], _ = previewed(1, ok("Sure, here is one."))
    assert one.written.text == "Sure, here is one."
    assert one.written.verdict.reason == "schema"


def test_a_row_that_the_endpoint_refuses_is_one_of_several(previewed: Any):
    refused = httpx.Response(400, json={"error": {"message": "Prompt blocked by our policy"}})
    rows, _ = previewed(2, refused, ok(row("a wholly different one")))
    assert sorted(one.written.verdict.kept for one in rows) == [False, True]


def test_an_endpoint_that_asks_for_a_pause_ends_it(previewed: Any):
    with pytest.raises(Transient, match="429"):
        previewed(1, httpx.Response(429, json={"error": {"message": "Rate limit"}}))


def test_without_a_round_nobody_is_asked(previewed: Any):
    rows, asked = previewed(2, ok(row("another")), maxIterations=1)
    assert asked == 0
    assert [one.written for one in rows] == [None, None]
    assert rows[0].messages

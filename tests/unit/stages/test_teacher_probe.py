"""The trial of Prepare: one real row, judged by the run's own filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import builders
from tests.support.mockteacher import body, mocked

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.augment.parse import Unparsable
from llm2llm.errors import ConfigurationError
from llm2llm.records import Example
from llm2llm.runtime.context import StepContext
from llm2llm.stages.teacher_probe import probe_teacher, row_questions
from llm2llm.storage import LocalStore
from llm2llm.teacher import connection

SPEC = AugmentationRunSpec.model_validate(builders.spec())
SEEDS = [
    Example(id=f"seed-{number}", fields={"prompt": f"the sentence of number {number}"}, completion="yes")
    for number in range(9)
]


def row(prompt: str) -> str:
    return json.dumps({"prompt": prompt, "completion": "yes"})


def probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, seeds: list[Example] = SEEDS
) -> tuple[str, list[Any], StepContext]:
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, content=body(text))

    monkeypatch.setattr(connection, "_http_client", lambda *_: mocked(answer))
    context = StepContext("pod-a", tmp_path / "scratch")
    return probe_teacher(SPEC, seeds, [], LocalStore(tmp_path / "runs"), context, lambda _: None), bodies, context


def test_the_teacher_is_asked_for_a_row_like_a_seed_once_and_it_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    warning, bodies, context = probed(tmp_path, monkeypatch, row("quite another one"))
    assert (warning, len(bodies)) == ("", 1)
    assert "Write one like this:" in bodies[0]["messages"][-1]["content"]
    assert context.usage.teacher_requests == 1


def test_a_row_that_the_filters_reject_is_a_warning_after_three_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    warning, bodies, _ = probed(tmp_path, monkeypatch, row(SEEDS[4].fields["prompt"]))
    assert warning.startswith("warning: the filters reject all 3 rows that the teacher")
    assert "(copy: equals seed-4)" in warning
    assert len({json.dumps(sent["messages"]) for sent in bodies}) == 3


def test_prose_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigurationError, match="3 answers that generation could not use: there is no JSON object"):
        probed(tmp_path, monkeypatch, "Sure, here is one.")


def test_without_a_usable_row_a_small_question_shows_that_the_endpoint_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    warning, bodies, _ = probed(tmp_path, monkeypatch, '{"ready": "yes"}', [])
    assert (warning, len(bodies)) == ("", 1)
    assert "connection" in bodies[0]["messages"][0]["content"]


def test_an_answer_without_the_fields_of_a_row_is_no_row():
    (question, *_) = row_questions(SPEC, SEEDS, [])
    with pytest.raises(Unparsable, match="prompt is missing"):
        question.judge('{"text": "x", "completion": "yes"}', "stop")
    assert question.judge(row("quite another one"), "stop") == ""

"""What Prepare leaves behind where it fails; what it refuses is in tests/integration/data_plane/test_prepare.py."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import builders
from tests.support.mockteacher import body, mocked

from llm2llm.errors import AuthenticationError, StepError
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages import prepare
from llm2llm.storage import LocalStore
from llm2llm.teacher import connection


def step_without_files(folder: Path, **changes: Any) -> Step:
    """Of a run that has neither rows nor a model, so that Prepare fails in any case."""
    spec = builders.spec(
        data={"seed": {"uri": (folder / "seed.jsonl").as_uri()}},
        student={"model": {"uri": (folder / "model").as_uri()}},
        **changes,
    )
    return Step.of(StepDocument(stage=Stage.PREPARE, namespace="ns", run="r", run_uid="u", spec=spec))


def test_the_requests_of_a_prepare_that_fails_are_counted_in_its_report_and_in_that_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([*[body("well...")] * 3, body('{"ready": "yes"}')])
    monkeypatch.setattr(
        connection, "_http_client", lambda *_: mocked(lambda _: httpx.Response(200, content=next(answers)))
    )
    store = LocalStore(tmp_path / "runs")
    for pod, requests in (("pod-a", 3), ("pod-b", 4)):
        context = StepContext(pod, tmp_path / "scratch")
        with pytest.raises(StepError, match=r"seed\.jsonl does not exist"):
            prepare.run(step_without_files(tmp_path), store, context)
        assert (context.usage.teacher_requests, context.usage.teacher_input_tokens) == (requests, 3 * requests)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("vocab"), 64),
        (OSError(errno.EIO, "Input/output error"), 75),
        (OSError(errno.ENOSPC, "No space left on device"), 75),
    ],
)
def test_what_a_library_says_of_a_model_is_tried_again_only_if_it_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
):
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(prepare, "model_revision", fail)
    (tmp_path / "seed.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    step = step_without_files(tmp_path, maxIterations=1)
    with pytest.raises(StepError) as caught:
        prepare.run(step, LocalStore(tmp_path / "runs"), StepContext("pod-a", tmp_path / "scratch"))
    assert caught.value.exit_code == code
    assert caught.value.message.startswith("spec.student.model: ")
    assert type(error).__name__ in caught.value.message


def test_what_several_checks_say_for_one_reason_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> str:
        raise AuthenticationError("there are no credentials")

    for name in ("model_revision", "_read_set"):
        monkeypatch.setattr(prepare, name, fail)
    with pytest.raises(AuthenticationError) as caught:
        prepare.run(
            step_without_files(tmp_path), LocalStore(tmp_path / "runs"), StepContext("pod", tmp_path / "scratch")
        )
    assert caught.value.message.count("there are no credentials") == 1

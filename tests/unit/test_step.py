"""The report of a step that ended without a result, and what is no step at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import builders

from llm2llm.errors import ConfigurationError, ExitCode, GpuOutOfMemory
from llm2llm.records import REPORT_LIMIT, Stage, StepDocument
from llm2llm.runtime.context import Step
from llm2llm.runtime.masking import Masker
from llm2llm.step import failed_report, main_step

NAMES = {"namespace": "ns", "run": "r", "runUid": "u"}
STEP = Step.of(
    StepDocument.model_validate(
        NAMES | {"stage": "Train", "iteration": 3, "attempt": 2, "spec": builders.spec(), "microBatch": 8}
    )
)


def test_a_failure_is_told_with_its_step_its_exit_code_and_its_reason() -> None:
    report = failed_report(STEP, ConfigurationError("no such model"), Masker({}))

    assert (report.run_uid, report.stage, report.iteration, report.attempt) == ("u", Stage.TRAIN, 3, 2)
    assert (report.exit_code, report.reason, report.message) == (64, "InvalidSpec", "no such model")
    assert report.micro_batch == 0


def test_the_micro_batch_that_did_not_fit_is_told() -> None:
    report = failed_report(STEP, GpuOutOfMemory("too little memory", micro_batch=4), Masker({}))

    assert (report.exit_code, report.micro_batch) == (69, 4)


def test_a_message_without_end_is_cut_to_what_a_kubelet_keeps() -> None:
    report = failed_report(STEP, ConfigurationError("\u00e4" * 10_000), Masker({}))

    assert report.message == "\u00e4" * 2048
    assert len(report.to_termination_message().encode()) <= REPORT_LIMIT


def test_a_message_that_is_cut_within_a_secret_holds_no_part_of_it() -> None:
    error = ConfigurationError("x" * 2040 + "s3cr3t-value and more")
    report = failed_report(STEP, error, Masker({"TEACHER_API_KEY": "s3cr3t-value"}))

    assert report.message == "x" * 2040 + "*** and "


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("", id="nothing"),
        pytest.param(json.dumps({"stage": "Train"}), id="a stage alone"),
        pytest.param(json.dumps(NAMES | {"stage": "Tune", "spec": builders.spec()}), id="a stage that there is not"),
        pytest.param(json.dumps(NAMES | {"stage": "Train", "spec": {}}), id="a spec that is none"),
    ],
)
def test_a_document_that_is_none_is_bad_configuration(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_step({"LLM2LLM_STEP": document}) == ExitCode.BAD_CONFIGURATION
    assert "LLM2LLM_STEP" in capsys.readouterr().err


def step_environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    """What a pod of the training gets; its artifacts are in a folder, its keys from Secret s3."""
    spec = builders.spec(artifacts={"uri": tmp_path.as_uri(), "credentialsSecretRef": {"name": "s3"}})
    document = NAMES | {"stage": "Train", "spec": spec, "parents": {"inputs": "sha256:none"}}
    scratch = {"LLM2LLM_SCRATCH": str(tmp_path / "scratch"), "LLM2LLM_TERMINATION_PATH": str(tmp_path / "report")}
    return {"LLM2LLM_STEP": json.dumps(document), **scratch, **variables}


@pytest.mark.parametrize(
    ("value", "words"),
    [("\ufeffAKIA-the-key", "begins with a byte order mark"), ("AKIA-the\n-key", "has more than one line")],
)
def test_a_secret_that_cannot_be_one_ends_the_step_with_its_name_and_without_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str, words: str
) -> None:
    environ = step_environment(tmp_path, AWS_ACCESS_KEY_ID=value, AWS_SECRET_ACCESS_KEY="psst-psst")
    assert main_step(environ) == ExitCode.AUTHENTICATION
    printed = capsys.readouterr()
    for text in (printed.out, printed.err, (tmp_path / "report").read_text()):
        assert f"Secret s3, key AWS_ACCESS_KEY_ID {words}" in text
        assert "AKIA" not in text


def test_what_a_step_prints_is_masked_in_the_pods_own_log_and_in_the_stored_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(*_: object) -> None:
        print("the endpoint says: no such key: sk-123456789")
        raise ConfigurationError("bad key 'sk-123456789', through http://me:pass%23word@proxy:3128")

    monkeypatch.setattr("llm2llm.step.run_step", stage)
    environ = step_environment(
        tmp_path,
        TEACHER_KEY="sk-123456789\n",
        HTTPS_PROXY="http://me:pass%23word@proxy:3128",
        AWS_ACCESS_KEY_ID="a" * 20,
    )
    assert main_step(environ) == ExitCode.BAD_CONFIGURATION
    printed = capsys.readouterr()
    [log] = tmp_path.rglob("*.log")
    for text in (printed.out, printed.err, log.read_text(), (tmp_path / "report").read_text()):
        assert "sk-123456789" not in text
        assert "pass%23word" not in text
    assert "the endpoint says: no such key: ***" in printed.out
    assert "bad key '***', through http://***@proxy:3128" in printed.err
    assert "the endpoint says: no such key: ***" in log.read_text()

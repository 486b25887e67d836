"""The ways a step can end are one table: each error has a code of its own, a reason, and a line for people."""

from __future__ import annotations

import pickle

import pytest

from llm2llm import errors
from llm2llm.errors import ENDINGS, FAILS_AT_ONCE, REASONS, ExitCode, GpuOutOfMemory, StepError

ERRORS = StepError.__subclasses__()
DESCRIBED = {int(code) for ending in ENDINGS for code in ending.code.replace(",", " ").split() if code.isdigit()}


def test_each_error_has_an_exit_code_of_its_own_and_each_code_an_error():
    assert sorted(error.exit_code for error in ERRORS) == sorted(set(ExitCode) - {ExitCode.DONE})


def test_each_exit_code_is_described_once():
    assert set(ExitCode) == DESCRIBED


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_that_does_not_pass_by_itself_has_a_reason_on_the_run(error: type[StepError]):
    passes_by_itself = error in (errors.Transient, errors.Terminated)
    assert (error.exit_code in REASONS) != passes_by_itself
    assert passes_by_itself or REASONS[error.exit_code] == error.reason


def test_nothing_that_a_retry_or_a_person_with_money_mends_fails_at_once():
    assert not FAILS_AT_ONCE & {
        ExitCode.TRANSIENT, ExitCode.TERMINATED, ExitCode.GPU_OUT_OF_MEMORY, ExitCode.BUDGET, ExitCode.TEACHER_QUOTA
    }  # fmt: skip


def test_out_of_memory_tells_another_process_at_which_size():
    error = pickle.loads(pickle.dumps(GpuOutOfMemory("too large", 4)))
    assert (error.message, error.micro_batch, error.exit_code) == ("too large", 4, 69)

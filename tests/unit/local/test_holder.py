"""The record of who holds a run."""

from __future__ import annotations

import os

import pytest

from llm2llm.errors import ExitCode
from llm2llm.local.holder import Holder, in_use, read_holder, this_process

HOLDER = Holder(user="ann", host="lab-3", pid=71, since="2026-11-30 01:40:00 UTC", token="t")


def test_a_record_is_read_as_it_was_written():
    assert read_holder(HOLDER.to_bytes()) == HOLDER


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="a lock that was released"),
        pytest.param(HOLDER.model_copy(update={"released": True}).to_bytes(), id="a record that was released"),
        pytest.param(HOLDER.to_bytes()[:20], id="half a record"),
        pytest.param(b"[1]", id="something else"),
    ],
)
def test_without_a_record_the_run_is_free(data: bytes):
    assert read_holder(data) is None


def test_a_record_of_a_later_release_is_read():
    assert read_holder(HOLDER.to_bytes().replace(b"{", b'{"ofTheFuture":1,', 1)) == HOLDER


def test_who_comes_second_is_told_who_was_first_and_may_come_again():
    error = in_use("file:///work/default/r", HOLDER)
    assert error.exit_code == ExitCode.TRANSIENT
    assert error.message.startswith(
        "file:///work/default/r is in use by ann@lab-3 (process 71, since 2026-11-30 01:40:00 UTC): wait until"
    )
    assert "in use by another process" in in_use("file:///work", None).message


def test_a_name_cannot_steer_a_terminal():
    assert HOLDER.model_validate(HOLDER.model_dump() | {"user": "\x1b[2Jann"}).user == "ann"


def test_this_process_names_itself():
    first, second = this_process(), this_process()
    assert first.pid == os.getpid()
    assert first.user
    assert first.host
    assert first.token != second.token


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch):
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert this_process().user == str(os.getuid())

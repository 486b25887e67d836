"""What holds a run in a folder; tests/integration/local/test_hold.py has real processes, and buckets."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.cluster.processes import wait_until
from tests.support.keyword import CHECKOUT

from llm2llm.errors import Terminated, Transient
from llm2llm.local import heartbeat
from llm2llm.local.hold import Hold, hold_run
from llm2llm.local.holder import LOCK, read_holder
from llm2llm.storage import LocalStore


def held(folder: Path) -> AbstractContextManager[Hold]:
    return hold_run(LocalStore(folder), threading.Event(), lambda _: None)


def refuse_second(folder: Path) -> None:
    with (
        pytest.raises(Transient, match=rf"is in use by .*process {os.getpid()}, since"),
        held(folder),
    ):
        pytest.fail("held twice")


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt, Terminated])
def test_a_run_is_held_during_a_block_and_free_however_that_ends(
    tmp_path: Path, end: type[BaseException] | None
) -> None:
    def work() -> None:
        with held(tmp_path) as hold:
            refuse_second(tmp_path)
            hold.confirm()
            assert hold.lost() is None
            if end:
                raise end("ended")

    if end:
        with pytest.raises(end):
            work()
    else:
        work()
    with held(tmp_path):
        pass


def test_of_a_full_disk_the_lock_holds_and_nobody_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with (
        held(tmp_path),
        pytest.raises(Transient, match="is in use by another process"),
        held(tmp_path),
    ):
        pytest.fail("held twice")


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(Transient, match=r"file/run\.lock: .*check the disk's free space and permissions"),
        held(tmp_path / "file"),
    ):
        pytest.fail("held")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_where_a_file_system_has_no_locks_a_heartbeat_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(heartbeat, "POLL_SECONDS", 0.05)
    said: list[str] = []
    store = LocalStore(tmp_path)
    with hold_run(store, threading.Event(), said.append):
        assert "on a file system without locks" in said[0]
        assert read_holder(store.read(LOCK)) is not None
        refuse_second(tmp_path)
    assert read_holder(store.read(LOCK)) is None
    with hold_run(store, threading.Event(), said.append):
        pass
    assert not any("was in use" in message for message in said)


FORKING = """
import os, sys, threading, time
from pathlib import Path
from llm2llm.local.hold import hold_run
from llm2llm.storage import LocalStore
with hold_run(LocalStore(Path(sys.argv[1])), threading.Event(), print):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(600)
"""


def is_free(folder: Path) -> bool:
    try:
        with held(folder):
            return True
    except Transient:
        return False


def test_a_child_that_outlives_a_killed_command_does_not_hold_its_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "images")}
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            with pytest.raises(Transient, match=f"process {process.pid}"), held(tmp_path):
                pytest.fail("held twice")
            process.kill()
            process.wait()
            os.kill(child, 0)
            wait_until("a free run", lambda: is_free(tmp_path), [])  # the child closes it when it gets its turn
            os.kill(child, 0)
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_any_other_error_of_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    with (
        pytest.raises(Transient, match=r"run\.lock: Input/output error \(EIO\)"),
        held(tmp_path),
    ):
        pytest.fail("held")

"""Says who holds a run: the record in `run.lock`."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from datetime import UTC, datetime

from pydantic import ValidationError

from llm2llm.errors import Transient
from llm2llm.records import PlainText, Record

LOCK = "run.lock"
"""Key of the lock, relative to the run's root. It stays there, empty or marked as released: no manifest lists it."""


class Holder(Record):
    """The process that holds a run.

    Attributes:
        since: by the clock of its machine, for people only.
        token: random, as two machines may have the same name and number of a process.
        beat: how often the record has been renewed.
        released: whether it has ended, so that the run is free.
    """

    user: PlainText
    host: PlainText
    pid: int
    since: PlainText
    token: str
    beat: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid}, since {self.since})"

    def to_bytes(self) -> bytes:
        return self.to_json().encode() + b"\n"


def this_process() -> Holder:
    """Returns this process as a holder."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        user = str(os.getuid())
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Holder(user=user, host=socket.gethostname(), pid=os.getpid(), since=since, token=secrets.token_hex(8))


def read_holder(data: bytes) -> Holder | None:
    """Returns the holder in a record; None if the run is free, also if the record cannot be read."""
    try:
        holder = Holder.model_validate_json(data)
    except ValidationError:
        return None
    return None if holder.released else holder


def in_use(uri: str, holder: Holder | None) -> Transient:
    """Returns the error of a command that finds the run held.

    It is transient, not a fault of the spec: the same command works once the other one has ended.
    """
    return Transient(
        f"{uri} is in use by {holder or 'another process'}: wait until that command has ended, or stop it, and run "
        "this one again; to run both at once, give one of them another --workdir or artifacts.key"
    )

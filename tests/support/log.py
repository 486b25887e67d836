"""What the code under test logs, for tests that ask for it.

pytest's own plugin is off: for each phase of each test it adds a handler to, and takes it from, every logger that does not
hand its records on, of which torch alone has dozens. That was a tenth of the time of the unit tests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Log(logging.Handler):
    """Keeps all records.

    Attributes:
        records: in their order.
    """

    def __init__(self) -> None:
        """Prepares a handler of the root logger."""
        super().__init__(logging.NOTSET)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        self.records.append(record)

    @property
    def text(self) -> str:
        """The messages, one a line."""
        return "\n".join(record.getMessage() for record in self.records)


@contextmanager
def logged(level: int = logging.WARNING) -> Iterator[Log]:
    """Gives what is logged at this level or above while it is open."""
    root, log = logging.getLogger(), Log()
    before = root.level
    root.addHandler(log)
    root.setLevel(level)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(before)

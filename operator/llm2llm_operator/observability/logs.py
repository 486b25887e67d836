"""Logs the operator's messages to stderr: one JSON object per line, or text for people.

`about`, `about_uid` and `about_step` keep the subject of a pass in a context variable, which every task has for itself.
So each line that is logged during the pass has run, step and attempt, wherever it is logged. kopf and aiohttp log
through the same handler.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from llm2llm.api.run import KIND
from llm2llm_operator.model.run import Key
from llm2llm_operator.model.status import CurrentStep

FORMATS: Final = ("json", "text")
FIELDS: Final = ("run", "uid", "step", "attempt")
"""What a line may have besides its message, in this order."""
_about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039 - never changed, always replaced
log = logging.getLogger(__name__)


@contextmanager
def about(key: Key) -> Iterator[None]:
    """Marks the lines logged in this context as being about this run."""
    token = _about.set({"run": "/".join(key)})
    try:
        yield
    finally:
        _about.reset(token)


def about_uid(uid: str) -> None:
    """Adds the UID of the run to the lines of the rest of this pass."""
    _about.set(_about.get() | {"uid": uid})


def about_step(current: CurrentStep | None) -> None:
    """Marks the lines of the rest of this pass as being about this attempt."""
    _about.set({name: value for name, value in _about.get().items() if name in ("run", "uid")} | _fields(current))


def _fields(current: CurrentStep | None) -> dict[str, Any]:
    if current is None:
        return {}
    stage = current.stage.lower()
    return {"step": stage if stage == "prepare" else f"i{current.iteration:03d}-{stage}", "attempt": current.attempt}


def set_up(style: str) -> None:
    """Sends all logs to stderr, including warnings and unhandled exceptions.

    Args:
        style: json or text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # kopf runs outside the main thread on purpose, and warns each time that it then ignores signals
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    log.critical("unhandled exception: the operator exits", exc_info=(kind, error or kind(), traceback))


def subject_of(record: logging.LogRecord) -> dict[str, Any]:
    """Returns the subject of a line: that of its pass, of its own `extra`, or the object that kopf logs about."""
    fields = dict(_about.get())
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, dict) and reference.get("kind") == KIND:
        fields |= {"run": f"{reference.get('namespace')}/{reference.get('name')}", "uid": reference.get("uid")}
    fields |= {name: vars(record)[name] for name in FIELDS if name in vars(record)}
    return {name: fields[name] for name in FIELDS if fields.get(name) is not None}


class JsonFormatter(logging.Formatter):
    """Formats ts, level, logger, message, the subject of the line, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats the record as one line of JSON."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | subject_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Formats a line as usual, with its subject after the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the method that is replaced
        """Formats the line without its traceback."""
        fields = " ".join(f"{name}={value}" for name, value in subject_of(record).items())
        return super().formatMessage(record) + (f" [{fields}]" if fields else "")

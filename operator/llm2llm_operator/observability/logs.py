"""Logs of the operator on stderr: one JSON object a line, or text for people, and every line knows its run.

What a pass is about lies in a context variable, which a task has for itself: a line that is logged anywhere within the
pass carries run, step and attempt, whoever logs it. Lines of kopf and aiohttp go the same way.
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
"""What a line may carry beside its message, in this order."""
_about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039 - never changed, always replaced
log = logging.getLogger(__name__)


@contextmanager
def about(key: Key) -> Iterator[None]:
    """Lines within are about this run."""
    token = _about.set({"run": "/".join(key)})
    try:
        yield
    finally:
        _about.reset(token)


def about_uid(uid: str) -> None:
    """From here on in this pass the run has this UID."""
    _about.set(_about.get() | {"uid": uid})


def about_step(current: CurrentStep | None) -> None:
    """From here on in this pass lines are about this attempt."""
    _about.set({name: value for name, value in _about.get().items() if name in ("run", "uid")} | _fields(current))


def _fields(current: CurrentStep | None) -> dict[str, Any]:
    if current is None:
        return {}
    stage = current.stage.lower()
    return {"step": stage if stage == "prepare" else f"i{current.iteration:03d}-{stage}", "attempt": current.attempt}


def set_up(style: str) -> None:
    """Sends all logs to stderr, those of warnings and of what nobody caught, too.

    Args:
        style: json or text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # it runs outside the main thread on purpose, and says each time that it then leaves signals alone
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    log.critical("unhandled exception: the operator exits", exc_info=(kind, error or kind(), traceback))


def told(record: logging.LogRecord) -> dict[str, Any]:
    """What a line is about: of its pass, of its own `extra`, or of the object that kopf logs about."""
    found = dict(_about.get())
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, dict) and reference.get("kind") == KIND:
        found |= {"run": f"{reference.get('namespace')}/{reference.get('name')}", "uid": reference.get("uid")}
    found |= {name: vars(record)[name] for name in FIELDS if name in vars(record)}
    return {name: found[name] for name in FIELDS if found.get(name) is not None}


class JsonFormatter(logging.Formatter):
    """ts, level, logger, message, what the line is about, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; it has no line break."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | told(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """As usual, with what the line is about behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the method that is replaced
        """The line without its traceback."""
        fields = " ".join(f"{name}={value}" for name, value in told(record).items())
        return super().formatMessage(record) + (f" [{fields}]" if fields else "")

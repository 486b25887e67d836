"""Reads the containers of a pod other than `step`: those before it (init containers) and those beside it (sidecars).

A mesh, a log shipper, or an admission webhook puts them there. Nothing of them is believed: they only say what keeps
the step from starting, and what keeps its pod alive when it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm2llm.podenv import CONTAINER
from llm2llm_operator.reasons import Reason

REASON_LIMIT = 128
WORDS_LIMIT = 1024
"""As much of what a kubelet or a container says as is kept: of thousands of pods, in memory."""


@dataclass(frozen=True, slots=True)
class InitContainer:
    """The init container that keeps the step from starting: one runs after the other, and the first unfinished counts.

    Attributes:
        waiting_reason: the kubelet's, if it waits; empty: it runs, or it has failed.
        exit_code: of its last end, if it failed.
        words: what is said of it: why it waits, or how it ended.
    """

    name: str
    waiting_reason: str = ""
    exit_code: int | None = None
    words: str = ""

    @property
    def runs(self) -> bool:
        """Whether it runs, for the first time."""
        return not self.waiting_reason and self.exit_code is None


def unfinished_init(spec: dict[str, Any], status: dict[str, Any]) -> InitContainer | None:
    """Returns the first init container that has not done its part, or None.

    One that is restarted always (a native sidecar) has done its part when it has started; another when it has ended
    with 0.
    """
    native = {c.get("name") for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    for container in status.get("initContainerStatuses") or []:
        name, state = str(container.get("name", "")), container.get("state") or {}
        ended = state.get("terminated")
        if name in native:
            if state.get("running") is not None and container.get("started") is not False:
                continue
        elif ended is not None and not ended.get("exitCode"):
            continue
        waiting, last = state.get("waiting") or {}, ended or (container.get("lastState") or {}).get("terminated")
        reason = str(waiting.get("reason", ""))[:REASON_LIMIT] if state else str(Reason.POD_INITIALIZING)
        if last is not None:
            code = int(last.get("exitCode") or 0)
            return InitContainer(name[:REASON_LIMIT], reason, code, _describe_end(code, last))
        return InitContainer(name[:REASON_LIMIT], reason, words=str(waiting.get("message", ""))[:WORDS_LIMIT])
    return None


def unfinished_beside(spec: dict[str, Any], status: dict[str, Any]) -> str:
    """Returns the names of the containers beside the step that have not ended, as words; empty if there is none.

    Native sidecars are not among them: a kubelet ends them itself once the others have ended.
    """
    statuses = status.get("containerStatuses") or []
    ended = {c.get("name") for c in statuses if (c.get("state") or {}).get("terminated") is not None}
    names = dict.fromkeys(str(c.get("name", "")) for c in (*(spec.get("containers") or []), *statuses))
    return ", ".join(name for name in names if name != CONTAINER and name not in ended)[:WORDS_LIMIT]


def reason_and_message(document: dict[str, Any]) -> str:
    """Returns the reason and the message of a condition or of a pod's status as words; empty if it has neither."""
    return ": ".join(str(document[key]) for key in ("reason", "message") if document.get(key))[:WORDS_LIMIT]


def _describe_end(code: int, ended: dict[str, Any]) -> str:
    words = reason_and_message(ended)
    return f"exit code {code}, {words}" if words else f"exit code {code}"

"""The errors of requests to the API server, by how the operator handles them.

ApiError
├── NotFound        404  for a delete: success; also the 403 of a terminating namespace, whose runs will go, too
├── Conflict        409  someone else wrote first: read again, decide again
├── Forbidden       403  RBAC or an admission webhook: shown on the run, retried slowly
├── Rejected        4xx  the API server does not accept this object: shown on the run
└── ApiUnavailable  429, 5xx, no connection: retried, not shown

NotLeading               no request was sent: another replica may lead (rule C14) and will reconcile the run
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
"""Cause in the details of a 403 (Kubernetes, namespace lifecycle admission)."""


class ApiError(Exception):
    """A request that the API server did not fulfill; the message is the server's."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.retry_after = retry_after
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class Forbidden(ApiError):
    pass


LONGEST_PAUSE = 60.0
"""Seconds; whatever something between us and the API server asks for, a worker comes back."""


class Rejected(ApiError):
    pass


class ApiUnavailable(ApiError):
    pass


class NotLeading(Exception):
    """A write that this process must not send now."""


def error_of(status: int, reason: str, message: str, retry_after: str = "", causes: Iterable[str] = ()) -> ApiError:
    """Returns the error for an HTTP status and the causes in its details."""
    classes: dict[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 409: Conflict}
    error_class = classes.get(status) or (ApiUnavailable if status in (401, 408, 429) or status >= 500 else Rejected)  # noqa: PLR2004
    if NAMESPACE_TERMINATING in causes:
        error_class = NotFound
    pause = min(float(retry_after), LONGEST_PAUSE) if retry_after.isdecimal() else 0.0
    return error_class(status, reason, message, pause)

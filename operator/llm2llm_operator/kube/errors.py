"""What can go wrong between the operator and the API server, by what has to follow.

ApiError
├── NotFound       404  for a delete: success; also the 403 of a namespace that ends: the run is going, too
├── Conflict       409  somebody else was first: read again, decide again
├── Forbidden      403  RBAC or an admission webhook: told on the run, tried again slowly
├── Rejected       4xx  the API server does not take this object: told on the run
└── Unavailable    429, 5xx, no connection: tried again, nothing is told

NotLeading             no request was made: another replica may lead (rule C14); the run is looked at by whoever leads
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
"""Cause of a 403 (Kubernetes, namespace lifecycle admission)."""


class ApiError(Exception):
    """A request that the API server did not fulfill; the message is its own."""

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


class Rejected(ApiError):
    pass


class ApiUnavailable(ApiError):
    pass


class NotLeading(Exception):
    """A write that this process may not do now."""


def error_of(status: int, reason: str, message: str, retry_after: str = "", causes: Iterable[str] = ()) -> ApiError:
    """The class that fits an HTTP status and the causes in its details."""
    kinds: dict[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 409: Conflict}
    kind = kinds.get(status) or (ApiUnavailable if status in (401, 408, 429) or status >= 500 else Rejected)  # noqa: PLR2004
    if NAMESPACE_TERMINATING in causes:
        kind = NotFound
    return kind(status, reason, message, float(retry_after) if retry_after.isdigit() else 0.0)

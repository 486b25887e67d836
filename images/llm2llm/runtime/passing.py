"""PURE: recognizes errors of the machine, its disk or the network that may pass by themselves."""

from __future__ import annotations

import errno
import socket
import ssl

from llm2llm.runtime.disk import is_disk_error

_NUMBERS = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EINTR, errno.EIO, errno.EMFILE,
        errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.ENFILE, errno.ENOBUFS, errno.ENOLCK, errno.ENOMEM,
        errno.ENOTCONN, errno.ESTALE,
    }
)  # fmt: skip
"""Beside those of a full disk and of a connection; a file that is not there stays away."""


def may_pass(error: Exception) -> bool:
    """Returns whether a step that met this error may succeed when it is tried again."""
    if isinstance(error, (MemoryError, ConnectionError, TimeoutError, socket.gaierror)) or is_disk_error(error):
        return True
    if isinstance(error, ssl.SSLError):  # numbered by its own library
        return not isinstance(error, ssl.SSLCertVerificationError)
    return isinstance(error, OSError) and error.errno in _NUMBERS

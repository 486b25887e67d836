"""PURE: recognizes errors of this machine's disk, whichever library reports them (fault 47)."""

from __future__ import annotations

import errno
import re
import ssl

ADVICE = "check the disk's free space and permissions"
_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})
_NUMBER_IN_WORDS = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers report the system's error number."""
_CUT_SHORT = "unexpected pos"
"""All that torch.save says about a file that it could not write completely."""


def is_disk_error(error: BaseException) -> bool:
    """Returns whether a disk is full, or cannot be written to."""
    message = str(error)
    number = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    if match := _NUMBER_IN_WORDS.search(message):
        number = int(match[1])
    return number in _NUMBERS or (isinstance(error, RuntimeError) and _CUT_SHORT in message)


def disk_advice(error: BaseException) -> str:
    """Returns what to add to an error's message: advice, or '' if it is not a disk error."""
    return f": {ADVICE}" if is_disk_error(error) else ""

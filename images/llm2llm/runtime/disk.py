"""PURE: which errors are this machine's disk, whoever tells them (fault 47)."""

from __future__ import annotations

import errno
import re
import ssl

ADVICE = "check the disk's free space and permissions"
_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})
_NUMBER_IN_WORDS = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers tell the system's number."""
_CUT_SHORT = "unexpected pos"
"""All that torch.save says of a file that it could not write to its end."""


def is_disk_error(error: BaseException) -> bool:
    """Whether a disk is full, or may not be written."""
    words = str(error)
    number = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    if told := _NUMBER_IN_WORDS.search(words):
        number = int(told[1])
    return number in _NUMBERS or (isinstance(error, RuntimeError) and _CUT_SHORT in words)


def disk_advice(error: BaseException) -> str:
    """What to add to an error's words: what to do, or nothing where it is not of the disk."""
    return f": {ADVICE}" if is_disk_error(error) else ""

"""Imports peft without loading torch's compiler."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_NO_COMPILER = "TORCHDYNAMO_DISABLE"


@contextmanager
def without_torch_compile() -> Iterator[None]:
    """Disables torch.compile during the imports that load peft, and with it an installed bitsandbytes.

    bitsandbytes decorates one of its own functions with torch.compile, which loads torch's compiler: a second of CPU in
    each process that trains or evaluates, with nothing compiled afterwards. In this context torch.compile returns its
    argument. On CPUs with AVX512-BF16 bitsandbytes also warns that it lacks a package to download a kernel with, which
    is suppressed.
    """
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    previous = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"
    try:
        yield
    finally:
        logger.setLevel(level)
        if previous is None:
            del os.environ[_NO_COMPILER]
        else:
            os.environ[_NO_COMPILER] = previous

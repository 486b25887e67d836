"""Importing peft without what it takes along in vain."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_NO_COMPILER = "TORCHDYNAMO_DISABLE"


@contextmanager
def without_torch_compile() -> Iterator[None]:
    """For the imports that bring peft: with it comes bitsandbytes where it is installed, quantized student or not.

    bitsandbytes asks for one of its own functions to be compiled, and merely asking loads torch's compiler: a second of
    CPU in each process that trains or evaluates, with nothing compiled afterwards. Within this torch.compile returns
    what it was given. On CPUs with AVX512-BF16 it also warns that it has no package to download a kernel with, which
    nobody asked for and is not let through.
    """
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    asked = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"
    try:
        yield
    finally:
        logger.setLevel(level)
        if asked is None:
            del os.environ[_NO_COMPILER]
        else:
            os.environ[_NO_COMPILER] = asked

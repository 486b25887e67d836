"""PyTorch in eager mode: without its compiler, which takes about a second to load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "TORCHDYNAMO_DISABLE"


@contextmanager
def eager() -> Iterator[None]:
    """Within it torch.compile returns what it was given: to import peft in.

    peft imports bitsandbytes wherever it is installed, and that asks for one of its own functions to be compiled.
    Merely asking loads the compiler, in each process that trains or evaluates, and nothing is compiled afterwards.
    """
    asked = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "1"
    try:
        yield
    finally:
        if asked is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = asked

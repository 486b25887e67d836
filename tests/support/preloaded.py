"""What the process that commands are forked from (commands.py) imports once: all that the data plane imports, but not
the data plane itself, since some tests run a changed copy of it."""

from __future__ import annotations

import gc
import importlib
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"

from tests.cluster.nodeprocess import ZYGOTE_MODULES

for _name in ZYGOTE_MODULES:
    importlib.import_module(_name)
for _name in [name for name in sys.modules if name.partition(".")[0] == "llm2llm"]:
    del sys.modules[_name]
gc.collect()
gc.freeze()  # as in tests/cluster/zygote.py: else the collector copies every page in each child

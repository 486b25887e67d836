"""One cluster for the whole session, for every tier that asks for it."""

import os

pytest_plugins = ["tests.cluster.fixtures"]

# Steps start from a process that has imported torch and transformers once, with one thread: the machine is small.
os.environ.setdefault("LLM2LLM_TEST_ZYGOTE", "1")
os.environ.setdefault("LLM2LLM_TEST_IMAGE_ENV", '{"OMP_NUM_THREADS": "1"}')

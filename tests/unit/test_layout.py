from __future__ import annotations

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.layout import run_root


@pytest.mark.parametrize(("key", "root"), [("", "s3://b/runs/ns/r-3b7d0c1e"), ("mine", "s3://b/runs/ns/mine")])
def test_the_root_of_a_run(key: str, root: str):
    spec = AugmentationRunSpec.model_validate(builders.spec(artifacts={"uri": "s3://b/runs/", "key": key}))
    assert run_root(spec, "ns", "r", builders.UID) == root

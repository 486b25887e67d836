"""Which fields of a teacher belong to which mode; the API server's side is tests/integration/control_plane/test_corpus.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm2llm.api.generate import Generate

ONLINE = {"model": "t", "baseUrl": "http://teacher/v1"}
LOCAL = {"model": "t", "source": {"uri": "hf://o/teacher"}}
OF_AN_ENDPOINT = "baseUrl, apiKeySecretRef, caBundleRef and extraHeaders must not be set if mode is Local"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"teacher": ONLINE}, id="an endpoint is what is meant if nothing is said"),
        pytest.param({"teacher": ONLINE, "tensorParallelSize": 1}, id="one GPU is the default"),
        pytest.param({"mode": "Local", "teacher": LOCAL, "tensorParallelSize": 4}, id="a teacher over four GPUs"),
        pytest.param({"mode": "Local", "teacher": LOCAL | {"extraHeaders": {}}}, id="no headers are none"),
    ],
)
def test_a_teacher_that_fits_its_mode(document: dict[str, Any]):
    assert Generate.model_validate(document).teacher.model == "t"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param({"teacher": LOCAL}, "baseUrl must be set if mode is Online", id="no endpoint to ask"),
        pytest.param(
            {"teacher": ONLINE | LOCAL}, "source must not be set if mode is Online", id="weights for an endpoint"
        ),
        pytest.param(
            {"mode": "Local", "teacher": {"model": "t"}}, "source must be set if mode is Local", id="no weights"
        ),
        *(
            pytest.param({"mode": "Local", "teacher": LOCAL | {field: value}}, OF_AN_ENDPOINT, id=field)
            for field, value in {
                "baseUrl": "http://teacher/v1",
                "apiKeySecretRef": {"name": "s", "key": "k"},
                "caBundleRef": {"name": "c"},
                "extraHeaders": {"x": "y"},
            }.items()
        ),
        pytest.param({"teacher": ONLINE, "tensorParallelSize": 2}, "must not be set if mode is Online", id="GPUs"),
    ],
)
def test_a_teacher_that_does_not_fit_its_mode(document: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=f"Value error, {words}"):
        Generate.model_validate(document)

"""Where a run may be tracked."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from llm2llm.api.tracking import Mlflow


@pytest.mark.parametrize(
    "uri", ["http://mlflow", "https://mlflow.example.com:8443/tracking/", "http://[::1]:5000", "https://host/a%20path"]
)
def test_an_address_may_have_a_port_and_a_path(uri: str):
    assert Mlflow(uri=uri).uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("sqlite:///mlflow.db", id="no server"),
        pytest.param("databricks", id="no URL"),
        pytest.param("https://", id="no host"),
        pytest.param("https://me:secret@mlflow", id="a password"),
        pytest.param("https://token@mlflow", id="a token"),
        pytest.param("https://mlflow/?key=secret", id="a query"),
        pytest.param("https://mlflow/#top", id="a fragment"),
        pytest.param("https://ml flow", id="a blank"),
    ],
)
def test_nothing_secret_may_be_in_an_address_and_no_message_quotes_it(uri: str):
    with pytest.raises(ValidationError) as caught:
        Mlflow(uri=uri)
    assert "credentialsSecretRef" in caught.value.errors()[0]["msg"]
    assert "secret@" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("name", ["team/tickets", "models:/tickets"])
def test_a_registered_model_has_a_name_that_mlflow_takes(name: str):
    with pytest.raises(ValidationError, match="any characters but / and :"):
        Mlflow(uri="https://mlflow", registered_model=name)

"""The part of the API about tracking: a server that shows the scores of a run beside those of others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from llm2llm.api.base import CaBundleReference, Model, SecretReference, ShortText
from llm2llm.api.forms import Form


class Mlflow(Model):
    uri: Annotated[
        str,
        StringConstraints(max_length=1024),
        Form(
            r"https?://[^/?#@\s]+(/[^?#@\s]*)?",
            "must be a URL that begins with https:// or http://, without a user, password or query: put what opens it "
            "into credentialsSecretRef",
            quoted=False,
        ),
    ] = Field(description="Address of the tracking server, e.g. https://mlflow.example.com.")
    experiment: ShortText = Field(
        "",
        description="Experiment that the runs appear in; it is created if needed. Defaults to llm2llm/<namespace>.",
    )
    registered_model: Annotated[
        ShortText, Form(r"[^/:]*", "must be the name of a registered model: any characters but / and :")
    ] = Field(
        "",
        description="Registered model that the best adapter becomes a version of, with the alias best; the version "
        "points to the artifacts and copies nothing. Give each run a name of its own: the alias follows the run that "
        "was scored last. If empty, nothing is registered.",
    )
    ca_bundle_ref: CaBundleReference | None = Field(
        None,
        description="CA bundle to verify the server's TLS certificate with, instead of the system roots. Steps also "
        "start without it.",
    )
    credentials_secret_ref: SecretReference | None = Field(
        None,
        description="Secret with the key MLFLOW_TRACKING_TOKEN, or with the keys MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD. Steps also start without it.",
    )


class Tracking(Model):
    mlflow: Mlflow | None = Field(
        None,
        description="MLflow: a parent run for this run, and a child for each iteration. Evaluate and Test write them "
        "once their output is committed; a server that cannot be reached is reported in their log and fails nothing.",
    )

"""Endpoints whose certificates are of an authority of the cluster's own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.cluster.s3 import S3Server
from tests.support.teacher import KEY, Teacher
from tests.support.tls import TlsFront

from llm2llm.api.data import Artifacts
from llm2llm.api.generate import Generate
from llm2llm.errors import ConfigurationError, StepError
from llm2llm.storage import open_store
from llm2llm.teacher.probe import probe


def test_an_object_store_with_a_certificate_of_its_own_is_trusted_by_its_bundle(
    tmp_path: Path, s3: S3Server, prefix: str
) -> None:
    with TlsFront(tmp_path, urlsplit(s3.endpoint).port or 0) as front:
        artifacts = Artifacts.model_validate(
            {"uri": f"s3://bucket/{prefix}", "endpoint": f"https://127.0.0.1:{front.port}", "pathStyle": True}
        )
        keys = {name: value for name, value in s3.environment.items() if "KEY" in name}
        store = open_store(artifacts.uri, artifacts, keys | {"AWS_CA_BUNDLE": str(front.authority)})
        assert store.create("a", b"1")
        assert store.read("a") == b"1"


def test_a_teacher_with_a_certificate_of_its_own_is_trusted_by_its_bundle_and_by_nothing_else(tmp_path: Path) -> None:
    with Teacher() as teacher, TlsFront(tmp_path, teacher.port) as front:
        url = f"https://127.0.0.1:{front.port}/v1"
        generate = Generate.model_validate({"teacher": {"model": "keyword-teacher", "baseUrl": url}})
        environ = {"LLM2LLM_TEACHER_API_KEY": KEY}
        trusting = environ | {"LLM2LLM_TEACHER_CA_BUNDLE": str(front.authority)}
        probe(generate, trusting)
        with pytest.raises(StepError):
            probe(generate, environ)
        asked = teacher.stats()["requests"]
    assert asked == 1


def test_a_bundle_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.crt").write_text("nothing")
    generate = Generate.model_validate({"teacher": {"model": "t", "baseUrl": "https://127.0.0.1:9/v1"}})
    with pytest.raises(ConfigurationError, match=r"caBundleRef: .*empty\.crt contains no valid certificates"):
        probe(generate, {"LLM2LLM_TEACHER_CA_BUNDLE": str(tmp_path / "empty.crt")})

"""Which store a URI means, and which URIs mean none."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.api.data import S3Access
from llm2llm.errors import ConfigurationError, StepError
from llm2llm.storage import LocalStore, open_store, read_source

ACCESS = S3Access()


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("s3:/", id="what is left of s3://file without a bucket"),
        pytest.param("S3://bucket/runs", id="a scheme of another case"),
        pytest.param("ftp://host/runs", id="a scheme that nobody serves"),
        pytest.param("/runs", id="a path"),
        pytest.param("", id="nothing"),
        pytest.param("file://host/runs", id="a file of another host"),
        pytest.param("pvc://claim/../other", id="a path that leaves its claim"),
    ],
)
def test_a_uri_that_means_no_store_is_an_error_of_the_configuration(uri: str):
    with pytest.raises(ConfigurationError):
        open_store(uri, ACCESS, {})


def test_a_source_without_a_bucket_is_an_error_of_the_configuration():
    with pytest.raises(ConfigurationError, match="expected s3://bucket/"):
        read_source("s3://train.jsonl", ACCESS, {})


def test_a_folder_is_a_store(tmp_path: Path):
    store = open_store(tmp_path.as_uri(), ACCESS, {})
    assert isinstance(store, LocalStore)
    store.write("a/b", b"x")
    [(key, size, tag)] = store.entries("a/")
    assert (key, size) == ("a/b", 1)
    store.write("a/b", b"yy")
    assert [(key, size) for key, size, _ in store.entries("")] == [("a/b", 2)]
    assert tag.isdigit()


def test_an_s3_uri_is_opened_with_its_keys(tmp_path: Path):
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "HOME": str(tmp_path)}
    access = S3Access(endpoint="http://127.0.0.1:9", region="us-east-1")
    try:
        assert open_store("s3://bucket/runs", access, keys).uri == "s3://bucket/runs"
    except StepError as error:  # nothing is asked of it yet
        pytest.fail(error.message)

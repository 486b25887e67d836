"""Which store a URI means, and which URIs mean none."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.api.data import S3Access
from llm2llm.errors import ConfigurationError, DataError, StepError
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


def test_a_source_that_is_not_there_is_a_mistake_in_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        read_source(f"{tmp_path.as_uri()}/none.jsonl", ACCESS, {})


@pytest.mark.parametrize("uri", ["gs://bucket/x", "pvc://claim/../../etc", "file://host/x"])
def test_other_places_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=uri.replace(".", r"\.")):
        open_store(uri, ACCESS, {})


def test_a_path_that_is_not_absolute_is_refused_with_how_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match=r"file://data/seed\.jsonl: .* absolute path, after three slashes"):
        read_source("file://data/seed.jsonl", ACCESS, {})


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where claims are mounted; one is called rows."""
    (tmp_path / "claims/rows/of a").mkdir(parents=True)
    monkeypatch.setattr("llm2llm.storage.uri.CLAIMS", str(tmp_path / "claims"))
    return tmp_path / "claims"


@pytest.mark.parametrize(
    "name", ["seed.jsonl", "a#b.jsonl", "a?b.jsonl", "of a/x.jsonl", "100%.jsonl", "ä.jsonl", "a?b#c%.jsonl", "#", "?"]
)
def test_every_letter_of_a_path_is_one_of_its_name(claims: Path, name: str) -> None:
    (claims / "rows" / name).write_bytes(b"rows")
    assert read_source(f"pvc://rows/{name}", ACCESS, {}) == b"rows"
    assert read_source(f"file://{claims}/rows/{name}", ACCESS, {}) == b"rows"
    assert read_source((claims / "rows" / name).as_uri(), ACCESS, {}) == b"rows"


@pytest.mark.parametrize("uri", ["pvc://../x", "pvc://./x", "configmap://../seed.jsonl", "configmap:///x", "pvc:///x"])
def test_fault_55_a_volume_has_a_name(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not the name of a (claim|ConfigMap)"):
        read_source(uri, ACCESS, {})


@pytest.mark.parametrize(
    "uri", ["pvc://rows/../x", "pvc://rows/%2e%2e/x", "pvc://rows/a/../../../x", "pvc://rows/a%0Ab"]
)
def test_fault_55_a_path_stays_in_its_volume(claims: Path, uri: str) -> None:
    (claims / "x").write_bytes(b"of another claim")
    for call in (read_source, open_store):
        with pytest.raises(ConfigurationError, match=r"is not a name of a file here.*: name a path in the claim"):
            call(uri, ACCESS, {})


def test_a_link_leads_anywhere_in_its_volume_and_not_out_of_it(claims: Path) -> None:
    (claims.parent / "environ").write_text("AWS_SECRET_ACCESS_KEY=psst")
    (claims / "rows/of a/x.jsonl").write_bytes(b"rows")
    (claims / "rows/inner").symlink_to("of a")
    (claims / "rows/outer.jsonl").symlink_to(claims.parent / "environ")
    assert read_source("pvc://rows/inner/x.jsonl", ACCESS, {}) == b"rows"
    with pytest.raises(ConfigurationError, match=r"leads out of .*claims/rows through a symbolic link"):
        read_source("pvc://rows/outer.jsonl", ACCESS, {})
    with pytest.raises(ConfigurationError, match="leads out of"):
        open_store("pvc://rows", ACCESS, {}).read("outer.jsonl")
    assert read_source(f"file://{claims}/rows/outer.jsonl", ACCESS, {})  # on one's own machine links are one's own


def test_a_configmap_is_mounted_through_links_of_the_kubelet(tmp_path: Path) -> None:
    folder = tmp_path / "mounts" / "rows"
    (folder / "..2026").mkdir(parents=True)
    (folder / "..2026/seed.jsonl").write_bytes(b"rows")
    (folder / "..data").symlink_to("..2026")
    (folder / "seed.jsonl").symlink_to("..data/seed.jsonl")
    environ = {"LLM2LLM_CONFIG_MAPS": str(tmp_path / "mounts")}
    assert read_source("configmap://rows/seed.jsonl", ACCESS, environ) == b"rows"

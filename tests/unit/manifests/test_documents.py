"""Files as kubectl takes them, and the changes of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm2llm.errors import InvalidManifest
from llm2llm.manifests.documents import read_documents, set_fields, validate_run

RUN = Path(__file__).resolve().parents[3] / "examples" / "keyword" / "run.yaml"
SECRETS = """
kind: Secret
metadata: {name: teacher}
data: {api-key: aHVzaA==}
---
kind: Secret
metadata: {name: s3}
stringData: {AWS_ACCESS_KEY_ID: me, AWS_SECRET_ACCESS_KEY: psst}
---
kind: ConfigMap
metadata: {name: other}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(RUN.read_text())
    (tmp_path / "secrets.yml").write_text(SECRETS)
    (tmp_path / "notes.txt").write_text("not: [yaml")
    return tmp_path


def test_a_folder_is_its_manifests_and_secrets_are_decoded(folder: Path):
    documents = read_documents([folder])
    assert validate_run(documents.the_run()).name == "keyword"
    assert documents.secrets == {
        "teacher": {"api-key": "hush"},
        "s3": {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "psst"},
    }


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("spec.maxIterations=2", ("maxIterations",), 2),
        ("spec.suspend=true", ("suspend",), True),
        ("spec.data.seed.uri=file:///a=b", ("data", "seed", "uri"), "file:///a=b"),
        ("spec.train.lora.dropout=0.2", ("train", "lora", "dropout"), "0.2"),
        ("spec.train.hyperparameters.weightDecay=1", ("train", "hyperparameters", "weightDecay"), "1"),
        ("spec.objective.goal=0.9", ("objective", "goal"), "0.9"),
        ("spec.task.labels=[a, b]", ("task", "labels"), ["a", "b"]),
    ],
)
def test_set(folder: Path, setting: str, path: tuple[str, ...], value: object):
    document = read_documents([folder]).the_run()
    changed = set_fields(document, [setting])
    found = validate_run(changed).spec.model_dump(by_alias=True)
    for name in path:
        found = found[name]
    assert found == value
    assert validate_run(document).spec.max_iterations == 5  # the file's document is untouched


@pytest.mark.parametrize("setting", ["spec.maxIterations", "spec.maxIterations.x=1", "=1"])
def test_a_set_without_sense_is_refused(folder: Path, setting: str):
    with pytest.raises(InvalidManifest, match="must be path=value"):
        set_fields(read_documents([folder]).the_run(), [setting])


def test_a_set_that_is_refused_does_not_show_its_value(folder: Path):
    with pytest.raises(InvalidManifest) as refused:
        set_fields(read_documents([folder]).the_run(), ["spec.maxIterations.Authorization=hush"])
    assert "hush" not in "".join(refused.value.problems)


def test_two_runs_are_one_too_many(folder: Path):
    (folder / "second.yaml").write_text(RUN.read_text())
    with pytest.raises(InvalidManifest, match="found 2 AugmentationRuns"):
        read_documents([folder]).the_run()


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
@pytest.mark.parametrize("name", ["../../home", "/etc", "a/b", "A", "", "a" * 254, "-a", "a..b", "[x]"])
def test_fault_55_a_name_that_the_api_server_refuses_is_refused_before_it_is_a_path(folder: Path, kind: str, name: str):
    (folder / "more.yaml").write_text(f"kind: {kind}\nmetadata: {{name: {name!r}}}\n")
    with pytest.raises(InvalidManifest, match=f"more.yaml: metadata.name .* of a {kind} must have only"):
        read_documents([folder])


@pytest.mark.parametrize(("kind", "field"), [("ConfigMap", "data"), ("Secret", "stringData")])
@pytest.mark.parametrize("key", ["../.bashrc", "/etc/passwd", "..", "a/b", "..data", "a b", "''"])
def test_fault_55_a_key_that_the_api_server_refuses_is_refused_before_it_is_a_path(
    folder: Path, kind: str, field: str, key: str
):
    (folder / "more.yaml").write_text(f"kind: {kind}\nmetadata: {{name: rows}}\n{field}: {{{key}: x}}\n")
    with pytest.raises(InvalidManifest, match=f"more.yaml: key .* of {kind} rows may have only letters"):
        read_documents([folder])


@pytest.mark.parametrize("namespace", ["../../..", "/tmp", "a/b", "A", "a" * 64, "5"])
def test_fault_55_a_namespace_is_a_label_since_it_is_a_folder(folder: Path, namespace: str):
    document = dict(read_documents([folder]).the_run())
    document["metadata"] = {**document["metadata"], "namespace": namespace if namespace != "5" else 5}
    with pytest.raises(InvalidManifest, match=r"metadata\.namespace: must be a DNS label"):
        validate_run(document)


def test_a_file_that_is_a_bomb_is_told_with_its_name(folder: Path):
    (folder / "run.yaml").write_text("a: &a [*a]")
    with pytest.raises(InvalidManifest, match=r"run\.yaml: the alias at line 1, column 4, contains itself"):
        read_documents([folder])


def test_base64_of_several_lines_and_an_empty_value_are_read(folder: Path):
    text = "kind: Secret\nmetadata: {name: long}\ndata:\n  k: |\n    aHVz\n    aA==\nstringData: {empty: }\n"
    (folder / "more.yaml").write_text(text)
    assert read_documents([folder]).secrets["long"] == {"k": "hush", "empty": ""}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            "Secret\nmetadata: {name: a}\nstringData: {k: 0123}",
            "stringData.k of Secret a is not a string: put it in quotes",
        ),
        ("Secret\nmetadata: {name: a}\nstringData: {k: yes}", "stringData.k of Secret a is not a string"),
        ("Secret\nmetadata: {name: a}\ndata: {k: é}", "data.k of Secret a is not base64-encoded"),
        ("Secret\nmetadata: {name: a}\ndata: {k: 5}", "data.k of Secret a is not base64-encoded"),
        ("Secret\nmetadata: {name: a}\ndata: [k]", "data of Secret a must be a mapping"),
        ("Secret\ndata: {k: aHVzaA==}", "a Secret has no metadata.name"),
        ("Secret\nmetadata: a", "a Secret has no metadata.name"),
        ("Secret\nmetadata: {name: [a]}", "metadata.name ['a'] of a Secret must have only"),
        ("ConfigMap\nmetadata: {name: a}\ndata: {k: {a: 1}}", "data.k of ConfigMap a is not a string"),
        ("ConfigMap\nmetadata: {name: a}\ndata: {k: 1e3}", "data.k of ConfigMap a is not a string"),
        ("ConfigMap\nmetadata: {name: a}\nbinaryData: {k: é}", "binaryData.k of ConfigMap a is not base64-encoded"),
    ],
)
def test_what_is_no_text_in_a_secret_or_config_map_is_told_with_its_place(folder: Path, document: str, problem: str):
    (folder / "more.yaml").write_text(f"kind: {document}\n")
    with pytest.raises(InvalidManifest, match=re.escape(f"more.yaml: {problem}")):
        read_documents([folder])


def test_a_secret_may_have_bytes_that_are_no_text_beside_a_key(folder: Path):
    text = "kind: Secret\nmetadata: {name: tls}\ndata: {keystore.jks: //4AYQ==, api-key: aHVzaA==}\n"
    (folder / "more.yaml").write_text(text)
    secret = read_documents([folder]).secrets["tls"]
    assert secret["api-key"] == "hush"
    assert secret["keystore.jks"].encode(errors="surrogateescape") == b"\xff\xfe\0a"


def test_a_list_without_items_is_empty(folder: Path):
    (folder / "more.yaml").write_text("kind: List\nitems: 5\n")
    assert len(read_documents([folder]).runs) == 1


def test_keys_that_are_numbers_are_texts_as_in_the_cluster(folder: Path):
    (folder / "more.yaml").write_text("kind: ConfigMap\nmetadata: {name: rows}\ndata: {1: x, true: z}\n")
    assert read_documents([folder]).config_maps["rows"] == {"1": b"x", "true": b"z"}


@pytest.mark.parametrize(("kind", "field"), [("ConfigMap", "data"), ("Secret", "stringData")])
def test_what_is_larger_than_the_api_server_takes_is_told(folder: Path, kind: str, field: str):
    document = f"kind: {kind}\nmetadata: {{name: rows}}\n{field}: {{a: {'x' * 1024 * 1023}, b: {'x' * 1024}}}\n"
    (folder / "more.yaml").write_text(document)
    read_documents([folder])
    (folder / "more.yaml").write_text(document.replace("b: x", "b: é"))
    with pytest.raises(
        InvalidManifest, match=rf"more\.yaml: {kind} rows has 1,048,577 bytes, and the API server takes"
    ):
        read_documents([folder])


def test_a_file_that_is_too_large_is_not_read_to_its_end(folder: Path):
    with (folder / "more.yaml").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(InvalidManifest, match=r"more\.yaml: it has more than 16,777,216 characters: split it"):
        read_documents([folder])

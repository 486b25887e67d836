"""The archive of a local run: what it holds, what it leaves out, and that no planted key is in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.archives import unpacked
from tests.support.filteredrun import HELD_OUT, SEEDS, finished_run

from llm2llm.errors import ConfigurationError
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.results.bundle import LOG_CHARACTERS, LOG_LINES, Bundle, bundle_of_store, newest, tail_of, write_bundle
from llm2llm.storage import LocalStore, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {place: f"pl4nted-{place}-{'k3y' * 5}" for place in ("header", "password", "variable", "setting", "log", "mine")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run whose user has put keys where they do not belong, and whose logs have them, too."""
    store = finished_run(tmp_path / "out")
    record = RunRecord.model_validate_json(store.read(RECORD))
    record.spec["generate"] |= {"env": [{"name": "GATEWAY_KEY", "value": KEYS["variable"]}]}
    record.spec["generate"]["teacher"] |= {
        "extraHeaders": {"x-gateway": KEYS["header"]}, "baseUrl": f"https://me:{KEYS['password']}@gateway/v1",
    }  # fmt: skip
    settings = (f"spec.generate.teacher.extraHeaders.x-other={KEYS['setting']}",)
    store.write(RECORD, record.model_copy(update={"settings": settings}).to_json().encode())
    said = [*KEYS.values()][:4]
    lines = [f"the gateway says {key}" for key in said] + [
        f"Authorization: Bearer {KEYS['log']}",
        f"using {KEYS['mine']}",
    ]
    store.write("logs/i000-generate-a0-p.log", "\n".join(lines).encode())
    return store


def written(bundle: Bundle, folder: Path) -> dict[str, str]:
    write_bundle(bundle, folder / "b.tar.gz", {"TEACHER_API_KEY": KEYS["mine"]}, NOW)
    return unpacked(folder / "b.tar.gz")


def test_no_planted_key_is_in_the_archive(store: Store, tmp_path: Path):
    files = written(bundle_of_store("keyword", store), tmp_path)
    text = "\n".join([*files, *files.values()])
    assert {place for place, key in KEYS.items() if key in text} == set()
    assert files["logs/i000-generate-a0-p.log"].count("the gateway says ***") == 4
    assert json.loads(files["run.json"])["name"] == "keyword"
    assert "redacted: " in files["CONTENTS.txt"]


def test_reports_and_logs_are_in_it_and_no_rows_or_weights(store: Store, tmp_path: Path):
    store.write("iterations/000/train/data/p/adapter/adapter_model.safetensors", b"weights")
    store.write("report/index.html", SEEDS[0].fields["prompt"].encode())
    files = written(bundle_of_store("keyword", store), tmp_path)
    assert sorted(files) == [
        "CONTENTS.txt", "inputs/manifest.json",
        *(f"iterations/{i:03d}/{stage}/manifest.json" for i in range(2) for stage in ("evaluate", "generate", "train")),
        "logs/i000-generate-a0-p.log", "run.json",
    ]  # fmt: skip
    text = "\n".join(files.values())
    assert not any(row.fields["prompt"] in text for row in (*SEEDS, *HELD_OUT))


def test_a_record_that_is_damaged_is_there_as_it_is(store: Store, tmp_path: Path):
    store.write(RECORD, b'{"name": "keyword", "spec')
    assert written(bundle_of_store("keyword", store), tmp_path)["run.json"] == '{"name": "keyword", "spec\n'


def test_what_cannot_be_read_is_named(tmp_path: Path):
    files = written(Bundle("r", unread={"Pods": "the API server answered 403"}), tmp_path)
    assert "not readable: Pods: the API server answered 403\n" in files["CONTENTS.txt"]


def test_an_archive_that_is_there_is_kept_unless_forced(tmp_path: Path):
    file = tmp_path / "b.tar.gz"
    file.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="exists: use --force"):
        write_bundle(Bundle("r"), file, {}, NOW)
    assert file.read_bytes() == b"mine"
    write_bundle(Bundle("r"), file, {}, NOW, overwrite=True)
    assert list(unpacked(file)) == ["CONTENTS.txt"]


def test_a_place_that_takes_no_file_is_told(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        write_bundle(Bundle("r"), tmp_path / "none" / "b.tar.gz", {}, NOW)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("a\nb", "a\nb\n", id="a short log"),
        pytest.param("x\n" * (LOG_LINES + 3), "x\n" * LOG_LINES, id="too many lines"),
        pytest.param("a" * LOG_CHARACTERS + "\nb\nc\n", "b\nc\n", id="too many characters, at the end of a line"),
        pytest.param("a" * (LOG_CHARACTERS + 9), "a" * (LOG_CHARACTERS + 9) + "\n", id="one line that is never cut"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_the_end_of_a_log_is_kept(text: str, kept: str):
    assert tail_of(text) == kept


def test_the_logs_of_the_last_steps_are_kept():
    names = [f"logs/i{number:03d}-train-a0-p.log" for number in range(150)]
    assert newest(names[::-1]) == names[50:]


def test_a_store_without_anything_gives_an_empty_archive(tmp_path: Path):
    assert bundle_of_store("r", LocalStore(tmp_path)) == Bundle("r")

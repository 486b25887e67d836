"""A model's folder is data: what its files may name, where its links may lead, and whose code is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm2llm.errors import ConfigurationError
from llm2llm.models.folder import check_folder

FIELD = "spec.student.model"
OWN = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}


def model(folder: Path, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, document in {"config": {"model_type": "llama"}, **files}.items():
        (folder / f"{name.replace('__', '.')}.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("shard", ["../../../etc/passwd", "/etc/passwd", "a/../b.safetensors", "", "a\nb"])
def test_fault_55_an_index_names_files_of_the_folder_alone(tmp_path: Path, shard: str):
    folder = model(tmp_path, model__safetensors__index={"weight_map": {"a": "model-1.safetensors", "b": shard}})
    with pytest.raises(
        ConfigurationError, match=r"^spec\.student\.model: model\.safetensors\.index\.json: .* is not a name"
    ):
        check_folder(folder, FIELD)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": []}, {"weight_map": {"a": "model-1.safetensors"}}, 5])
def test_an_index_without_such_a_name_is_left_to_those_who_read_it(tmp_path: Path, index: Any):
    check_folder(model(tmp_path, model__safetensors__index=index), FIELD)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"config": {"auto_map": OWN | {"AutoModel": "other/code--modeling.M"}}}, id="the model"),
        pytest.param({"config": {"text_config": {"auto_map": {"AutoConfig": "other/code--c.C"}}}}, id="a part of it"),
        pytest.param(
            {"tokenizer_config": {"auto_map": {"AutoTokenizer": [None, "other/code--t.T"]}}}, id="the tokenizer"
        ),
        pytest.param({"tokenizer_config": {"auto_map": ["other/code--t.T", None]}}, id="the tokenizer, as of old"),
        pytest.param({"processor_config": {"auto_map": {"AutoProcessor": "other/code--p.P"}}}, id="what else is read"),
    ],
)
def test_code_of_another_repository_is_not_run_since_no_revision_pins_it(tmp_path: Path, files: dict[str, Any]):
    folder = model(tmp_path, **files)
    with pytest.raises(ConfigurationError, match=r"takes its code from other/code .*revision does not pin"):
        check_folder(folder, FIELD, trusted=True)
    check_folder(folder, FIELD)  # nothing of it is run


def test_code_of_its_own_is_fine(tmp_path: Path):
    check_folder(
        model(tmp_path, config={"auto_map": OWN}, broken=[1], tokenizer_config={"auto_map": None}), FIELD, trusted=True
    )


def test_fault_55_a_link_out_of_the_volume_is_refused_and_one_within_it_is_not(tmp_path: Path):
    volume, secret = tmp_path / "claim", tmp_path / "environ"
    (volume / "blobs").mkdir(parents=True)
    (volume / "blobs/1").write_text("words")
    secret.write_text("AWS_SECRET_ACCESS_KEY=psst")
    folder = model(volume / "snapshot")
    (folder / "vocab.txt").symlink_to("../blobs/1")
    check_folder(folder, FIELD, within=volume)
    (folder / "merges.txt").symlink_to(secret)
    check_folder(folder, FIELD)  # on one's own machine links are one's own
    with pytest.raises(ConfigurationError, match=r"'merges\.txt' leads out of .*claim through a symbolic link"):
        check_folder(folder, FIELD, within=volume)
    (folder / "merges.txt").unlink()
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="'more' leads out of"):
        check_folder(folder, FIELD, within=volume)


def test_a_file_that_is_no_json_is_left_to_those_who_read_it(tmp_path: Path):
    folder = model(tmp_path)
    for number, text in enumerate(
        ("", "{", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"))
    ):
        (folder / f"{number}.json").write_text(text, encoding="latin-1")
    check_folder(folder, FIELD, trusted=True)


@pytest.mark.parametrize(
    "auto_map", [5, None, [["x--y"]], {"AutoConfig": 5}, {"AutoConfig": {"a": ["x/y--z.Z"]}}, [{"a": "x/y--z.Z"}]]
)
def test_an_odd_auto_map_is_read_and_no_crash(tmp_path: Path, auto_map: Any):
    folder = model(tmp_path, config={"parts": [{"auto_map": auto_map}]})
    if "--" in json.dumps(auto_map):
        with pytest.raises(ConfigurationError, match="takes its code from"):
            check_folder(folder, FIELD, trusted=True)
    else:
        check_folder(folder, FIELD, trusted=True)

"""Headers of weights: what a checkpoint lacks is known before anything of it is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from llm2llm.models.headers import INDEX, WHOLE, find_problems, has_all_files

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SHARDED = {
    FIRST: save({EMBEDDING: np.zeros((8, 4), np.float32)}, {"format": "pt"}),
    SECOND: save({HEAD: np.zeros((8, 4), np.float16)}),
}
MAP = {"weight_map": {EMBEDDING: FIRST, HEAD: SECOND}}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4981000000\n"


def problems(files: dict[str, bytes], index: Any = None, vocabulary: int = 8) -> list[str]:
    sizes = {name: len(content) for name, content in files.items()}
    return find_problems(sizes, index, lambda name, size: files[name][:size], vocabulary)


def test_the_weights_themselves_are_not_read():
    sizes: list[int] = []
    content = save({EMBEDDING: np.zeros((8, 100_000), np.float32)})

    def read_start(_: str, size: int) -> bytes:
        sizes.append(size)
        return content[:size]

    assert find_problems({WHOLE: len(content)}, None, read_start, 8) == []
    assert len(sizes) == 1
    assert sizes[0] < 300_000


def test_a_whole_checkpoint_lacks_nothing():
    assert problems(SHARDED, MAP) == []
    assert problems({WHOLE: SHARDED[FIRST]}) == []
    assert problems({WHOLE: SHARDED[FIRST], **SHARDED}, MAP) == []  # transformers takes the whole file
    assert problems(SHARDED, MAP, vocabulary=0) == []


def test_a_long_header_is_read_in_a_second_request():
    names = {f"{'x' * 90}.{number}": np.zeros(1, np.float32) for number in range(4000)}
    assert problems({WHOLE: save(names)}) == []


def header(text: str, rest: bytes = b"") -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode() + rest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(POINTER, "is a Git LFS pointer and not the weights: fetch them", id="a pointer"),
        pytest.param(b"", "is no safetensors file, or was cut: it has 0 bytes", id="nothing"),
        pytest.param(b"none", "is no safetensors file", id="a few letters"),
        pytest.param(b"<html>not found</html>", "is no safetensors file", id="a page"),
        pytest.param(SHARDED[FIRST][:-1], "but its header describes", id="a file that was cut"),
        pytest.param(SHARDED[FIRST] + b"\0", "but its header describes", id="a file that is too long"),
        pytest.param(SHARDED[FIRST][:40], "is no safetensors file, or was cut", id="a file that was cut in its header"),
        pytest.param(header("{]"), "is damaged", id="no JSON"),
        pytest.param(header("[1]"), "is damaged", id="a list"),
        pytest.param(header('{"a": 1}'), "is damaged", id="a weight that is none"),
        pytest.param(header('{"a": {"data_offsets": [0], "shape": []}}'), "is damaged", id="a weight without an end"),
        pytest.param(header('{"a":' * 50_000), "is damaged", id="a nesting without end"),
        pytest.param((10**15).to_bytes(8, "little") + b"{}" * 100, "is no safetensors file", id="a header without end"),
    ],
)
def test_fault_60_a_file_that_is_no_weights_is_named(content: bytes, words: str):
    [problem] = problems({WHOLE: content})
    assert WHOLE in problem
    assert words in problem
    [problem] = problems({FIRST: content, SECOND: SHARDED[SECOND]}, MAP)
    assert FIRST in problem


TYPES = {"BOOL": 8, "U8": 8, "I64": 64, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "C64": 64}


def weight_of(kind: str, size: int) -> bytes:
    return header(f'{{"a": {{"dtype": "{kind}", "shape": [2, 4], "data_offsets": [0, {size}]}}}}', bytes(size))


@pytest.mark.parametrize(("kind", "bits"), TYPES.items())
def test_weights_of_every_type_have_the_bytes_of_their_shape(kind: str, bits: int):
    assert problems({WHOLE: weight_of(kind, bits)}) == []
    if kind != "BOOL":
        assert problems({WHOLE: weight_of(kind, bits - 1)}) == [
            f"the header of {WHOLE} is damaged: the bytes of a are not those of its shape"
        ]


def test_a_shard_that_is_missing_is_named():
    assert problems({FIRST: SHARDED[FIRST]}, MAP) == [f"{SECOND} is missing, which {INDEX} lists"]


def test_a_weight_that_is_not_where_the_index_says_is_named():
    swapped = {"weight_map": {EMBEDDING: SECOND, HEAD: SECOND}}
    assert problems(SHARDED, swapped) == [f"{SECOND} has no weight {EMBEDDING}, which {INDEX} lists in it"]


@pytest.mark.parametrize(
    ("index", "words"),
    [({}, "has no weight_map"), ({"weight_map": []}, "has no weight_map"), (None, "there is neither")],
)
def test_shards_without_an_index_are_told(index: Any, words: str):
    [problem] = problems(SHARDED, index)
    assert words in problem


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight", "wte.weight"]
)
def test_an_embedding_of_another_size_than_the_config_says_is_told(name: str):
    weights = save(
        {name: np.zeros((8, 4), np.float32), "vision_tower.embed_tokens.weight": np.zeros((3, 4), np.float32)}
    )
    assert problems({WHOLE: weights}) == []
    assert problems({WHOLE: weights}, vocabulary=9) == [f"{name} has 8 rows, but vocab_size in config.json is 9"]


def test_a_weight_with_other_bytes_than_its_shape_needs_is_told():
    document = '{"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 8]}}'
    [problem] = problems({WHOLE: header(document, b"\0" * 8)})
    assert "the bytes of a are not those of its shape" in problem


def test_eight_rows_more_than_the_vocabulary_are_a_models_own():
    assert problems({WHOLE: save({EMBEDDING: np.zeros((16, 4), np.float32)})}, vocabulary=8) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(SHARDED[FIRST], [], id="whole"),
        pytest.param(SHARDED[FIRST][:-8], [], id="cut where nobody can know it"),
        pytest.param(SHARDED[FIRST][:20], [f"the header of {WHOLE} is damaged"], id="cut within its header"),
        pytest.param(b"", [f"{WHOLE} is no safetensors file, or was cut"], id="empty"),
    ],
)
def test_a_file_whose_size_nobody_tells_is_read_all_the_same(content: bytes, words: list[str]):
    found = find_problems({WHOLE: None}, None, lambda _, size: content[:size], 8)
    assert [problem[: len(word)] for problem, word in zip(found, words, strict=True)] == words


def test_nothing_is_read_of_a_file_that_is_empty():
    def read_start(_: str, size: int) -> bytes:
        raise AssertionError(f"asked for {size} bytes")

    assert find_problems({WHOLE: 0}, None, read_start, 8) == [
        f"{WHOLE} is no safetensors file, or was cut: it has 0 bytes"
    ]


@pytest.mark.parametrize(
    ("names", "index", "complete"),
    [
        pytest.param([WHOLE], None, True, id="one file"),
        pytest.param([FIRST, SECOND, INDEX], MAP, True, id="all shards"),
        pytest.param([FIRST, INDEX], MAP, False, id="one shard less"),
        pytest.param(["other.safetensors"], None, False, id="something else"),
        pytest.param([], None, False, id="nothing"),
        pytest.param([FIRST], {"weight_map": []}, False, id="an index of nothing"),
    ],
)
def test_a_model_is_there_if_all_files_that_it_is_loaded_from_are(names: list[str], index: Any, *, complete: bool):
    assert has_all_files(names, index) == complete

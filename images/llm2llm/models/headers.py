"""PURE: reads the headers of weights in the safetensors format, and tells what a checkpoint lacks.

A header is a few kilobytes that name each weight with its type, shape and place, so all of this is known before
anything is downloaded. Format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The names that transformers looks for, in this order."""
_LENGTH = 8
_SHORTEST = len("{}")
_FIRST_READ = 256 * 1024
"""Bytes to read of a file at first: the headers of most fit in."""
_LIMIT = 100_000_000
"""Maximum bytes of a header, as the format's own library has it."""
_POINTER = b"version https://git-lfs"
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in)\.weight$")
_OTHER_TOWER = re.compile(r"vision|visual|image|audio|speech|encoder")
_EXTRA_ROWS = (0, 8)
"""Rows of an embedding beyond `vocab_size`: Llama 3.2 Vision has eight for its images (transformers' mllama)."""
_AT_ONCE = 8

Header = Mapping[str, tuple[int, ...]]
"""Name of each weight in a file, with its shape."""
ReadStart = Callable[[str, int], bytes]
"""Returns up to so many bytes from the start of a file."""


def find_problems(
    sizes: Mapping[str, int | None], index: Mapping[str, Any] | None, read_start: ReadStart, vocabulary: int
) -> list[str]:
    """Returns what a checkpoint lacks, one sentence each; empty if it is whole.

    Args:
        sizes: names of the model's files, with their sizes in bytes; None where nobody knows it.
        index: content of INDEX, None if there is none.
        read_start: reads the beginning of a file.
        vocabulary: number of tokens by the model's config, 0 if it does not say.
    """
    places = _places(sizes, index)
    if isinstance(places, str):
        return [places]
    files = sorted(set(places.values())) or [WHOLE]
    missing = [name for name in files if name not in sizes]
    if missing:
        return [f"{name} is missing, which {INDEX} lists" for name in missing]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        headers = dict(
            zip(files, threads.map(lambda name: read_header(name, sizes[name], read_start), files), strict=True)
        )
    problems = [header for header in headers.values() if isinstance(header, str)]
    found = {name: header for name, header in headers.items() if not isinstance(header, str)}
    for weight, file in places.items():
        if file in found and weight not in found[file]:
            problems.append(f"{file} has no weight {weight}, which {INDEX} lists in it")
            break
    return problems + _embedding_problems(found.values(), vocabulary)


def has_all_files(names: Collection[str], index: Mapping[str, Any] | None) -> bool:
    """Returns whether these files include all that a model is loaded from; `index` as in find_problems."""
    places = _places(names, index)
    return not isinstance(places, str) and all(name in names for name in set(places.values()) or {WHOLE})


def _places(sizes: Collection[str], index: Mapping[str, Any] | None) -> Mapping[str, str] | str:
    """Returns the file of each weight that an index lists, empty for a whole model; or what is wrong."""
    if WHOLE in sizes:
        return {}
    if index is None:
        found = ", ".join(sorted(name for name in sizes if name.endswith(".safetensors"))[:3])
        return f"there is neither {WHOLE} nor {INDEX} beside {found}: rename the file, or add the index"
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        return f"{INDEX} has no weight_map"
    return {str(weight): str(file) for weight, file in weight_map.items()}


def read_header(name: str, size: int | None, read_start: ReadStart) -> Header | str:
    """Returns the header of one file, or what is wrong with it; a size that nobody knows is not compared."""
    start = b"" if size == 0 else read_start(name, _FIRST_READ if size is None else min(size, _FIRST_READ))
    if start.startswith(_POINTER):
        return f"{name} is a Git LFS pointer and not the weights: fetch them with `git lfs pull`"
    length = int.from_bytes(start[:_LENGTH], "little")
    end = math.inf if size is None else size
    if len(start) < _LENGTH or not _SHORTEST <= length <= _LIMIT or _LENGTH + length > end:
        found = "" if size is None else f": it has {size} bytes"
        return f"{name} is no safetensors file, or was cut{found}"
    if _LENGTH + length > len(start):
        start = read_start(name, _LENGTH + length)
    try:
        document = json.loads(start[_LENGTH : _LENGTH + length])
        tensors = {weight: entry for weight, entry in document.items() if weight != "__metadata__"}
        data_end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        header = {weight: tuple(map(int, entry["shape"])) for weight, entry in tensors.items()}
        wrong = next((weight for weight, entry in tensors.items() if not _fits(entry)), None)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        return f"the header of {name} is damaged: {error!r}"
    if wrong is not None:
        return f"the header of {name} is damaged: the bytes of {wrong} are not those of its shape"
    described = _LENGTH + length + data_end
    if size not in (None, described):
        return f"{name} has {size} bytes, but its header describes {described}: it was cut, or is damaged"
    return header


def _fits(entry: Mapping[str, Any]) -> bool:
    """Returns whether a weight has as many bytes as its shape and type need.

    The first number in the name of a type is that of its bits (F32, F8_E4M3, C64); one without a number may have any.
    """
    begin, end = map(int, entry["data_offsets"])
    bits = re.search(r"\d+", str(entry["dtype"]))
    return bits is None or (end - begin) * 8 == math.prod(entry["shape"]) * int(bits[0])


def _embedding_problems(headers: Collection[Header], vocabulary: int) -> list[str]:
    for header in headers:
        for weight, shape in header.items():
            if (
                _EMBEDDING.search(weight)
                and not _OTHER_TOWER.search(weight)
                and vocabulary
                and shape
                and shape[0] - vocabulary not in _EXTRA_ROWS
            ):
                return [f"{weight} has {shape[0]} rows, but vocab_size in config.json is {vocabulary}"]
    return []

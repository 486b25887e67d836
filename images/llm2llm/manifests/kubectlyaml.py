"""Reads YAML as kubectl does, so that a file means the same here and there.

kubectl's reader follows YAML 1.1 where people rely on it (`yes`, `off` and `y` are booleans, `010` is eight) but not
where it surprises (`12:30` is not a number, `2026-01-01` not a date). PyYAML does neither, and reads `2e-4` as a
string, which would then pass here and be rejected there.

kubectl's parser is a port of libyaml, so libyaml reads here, too: it takes a tab after a value, which PyYAML's own
parser refuses, and is ten times as fast. Nodes are composed in Python, where deep nesting ends in an exception.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import yaml
from yaml.composer import Composer

from llm2llm.kubeyaml import add_resolvers

try:
    from yaml import CSafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader
else:

    class _SafeLoader(Composer, CSafeLoader):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            CSafeLoader.__init__(self, text)
            Composer.__init__(self)


_BOOLEANS = {"y": True, "yes": True, "on": True, "true": True, "n": False, "no": False, "off": False, "false": False}
_TEXT = "tag:yaml.org,2002:str"

SIZE_LIMIT = 16 * 1024 * 1024
"""Characters of a file: several objects, of which an API server takes each up to 3 MiB."""
EXPANDED_LIMIT = 1_000_000
"""Values of a file, and of a document with its aliases written out."""
DEPTH_LIMIT = 200
"""Levels of nesting: less than ends any recursion of those who go on with a document, also on a deep stack."""
_TOO_DEEP = f"it is nested too deeply, in more than {DEPTH_LIMIT} levels: no object needs so many, write it flatter"
_LETTERS = 64
"""Letters of a text that count as one value more."""
_DIGITS = 400
"""Characters of a number: the largest that JSON readers take has 309 digits."""


class _Loader(_SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name; filled below

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Composes a node. An anchor may be there already: the latest counts."""
        self._nodes += 1
        if self._nodes > EXPANDED_LIMIT:
            raise yaml.YAMLError(f"it has more than {EXPANDED_LIMIT:,} values: split it")
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Constructs a mapping whose keys are texts, as JSON's are."""
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            node.value = [(self._key(key), value) for key, value in node.value]
        return super().construct_mapping(node, deep)

    def _key(self, node: yaml.Node) -> yaml.Node:
        if node.tag == _TEXT or not isinstance(node, yaml.ScalarNode):
            return node
        text = _key_text(self.construct_object(node))
        if text is None:
            raise yaml.YAMLError(f"the key{_place(node)} is not a string: put it in quotes")
        return yaml.ScalarNode(_TEXT, text, node.start_mark, node.end_mark)


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return _BOOLEANS[loader.construct_scalar(node).lower()]


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = loader.construct_scalar(node)
    if len(text) > _DIGITS:
        raise yaml.YAMLError(f"the number{_place(node)} has {len(text):,} characters: put text in quotes")
    integer = node.tag.endswith(":int")
    return loader.construct_yaml_int(node) if integer else loader.construct_yaml_float(node)


def _key_text(key: Any) -> str | None:
    """Returns what sigs.k8s.io/yaml makes of a key (convertToJSONableObject); None if it takes no such key."""
    match key:
        case str():
            return key
        case bool():
            return "true" if key else "false"
        case int():
            return str(key) if -(2**63) <= key < 2**63 else None
        case float():
            return _single(key)
    return None


def _single(number: float) -> str:
    """Returns the shortest text of a number in single precision (Go's `strconv.FormatFloat(number, 'g', -1, 32)`)."""
    packed = struct.pack("f", number)
    (single,) = struct.unpack("f", packed)
    if not math.isfinite(single):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(single, ".nan")
    text = next(text for digits in range(9) if struct.pack("f", float(text := f"{single:.{digits}e}")) == packed)
    return f"{Decimal(text):f}" if -4 <= int(text.partition("e")[2]) < 6 else text  # noqa: PLR2004


add_resolvers(_Loader)
_Loader.add_constructor("tag:yaml.org,2002:bool", _boolean)
for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number)


def load_all(text: str) -> Iterator[Any]:
    """Yields the documents of a file. Raises as `load`."""
    if len(text) > SIZE_LIMIT:
        raise yaml.YAMLError(f"it has more than {SIZE_LIMIT:,} characters: split it")
    if text.lstrip("\ufeff \t\r\n").startswith(
        "{"
    ):  # kubectl takes it for JSON, too: with tabs and pairs of surrogates
        with suppress(ValueError, RecursionError):
            document = json.loads(text.lstrip("\ufeff"), parse_int=_integer)
            _check_depth(document)
            yield document
            return
    try:
        loader = _Loader(text if text.endswith("\n") else f"{text}\n")
    except UnicodeEncodeError as error:  # half of a pair of surrogates
        raise yaml.YAMLError(f"it is no text: {error}") from error
    try:
        while (node := loader.get_node() if loader.check_node() else None) is not None:
            document = _value(loader, node)
            _check_depth(document)
            yield document
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None
    finally:
        loader.dispose()


def _check_depth(document: Any) -> None:
    """Raises if a document is nested too deeply; what aliases repeat counts once a level."""
    level, depth = [document], 0
    while level := [*{id(value): value for value in level if isinstance(value, dict | list)}.values()]:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise yaml.YAMLError(_TOO_DEEP)
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise yaml.YAMLError(f"a number has {len(text):,} characters: put text in quotes")
    return int(text)


def load(text: str) -> Any:
    """Returns the only document, None if there is none.

    Raises:
        yaml.YAMLError: the text is no YAML or has several documents, is larger than any object that an API server
            takes, is nested too deeply, grows beyond EXPANDED_LIMIT by its aliases, or has a value that cannot be read.
    """
    documents = list(load_all(text))
    if len(documents) > 1:
        raise yaml.YAMLError("it has more than one document")
    return documents[0] if documents else None


def _value(loader: _Loader, node: yaml.Node) -> Any:
    _check_aliases(node)
    try:
        return loader.construct_document(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # e.g. `!!int x`
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def _check_aliases(document: yaml.Node) -> None:
    """Raises if a document contains itself, or is large only once its aliases and merges are written out."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise yaml.YAMLError(f"the alias{_place(node)} contains itself")
            return sizes[id(node)]
        sizes[id(node)] = 0  # until it is known
        if isinstance(node, yaml.MappingNode):
            expanded = 1 + sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            expanded = 1 + sum(map(size, node.value))
        else:
            expanded = 1 + len(node.value) // _LETTERS
        if expanded > EXPANDED_LIMIT:
            raise yaml.YAMLError(f"its aliases{_place(node)} stand for more than {EXPANDED_LIMIT:,} values")
        sizes[id(node)] = expanded
        return expanded

    size(document)


def _place(node: yaml.Node) -> str:
    mark: Any = node.start_mark
    return f" at line {mark.line + 1}, column {mark.column + 1},"

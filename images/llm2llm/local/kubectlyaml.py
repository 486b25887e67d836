"""Reads YAML as kubectl does, so that a file means the same here and there.

kubectl's reader follows YAML 1.1 where people rely on it (`yes`, `off` and `y` are booleans, `010` is eight) but not
where it surprises (`12:30` is not a number, `2026-01-01` not a date). PyYAML does neither, and reads `2e-4` as a
string, which would then pass here and be rejected there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

_BOOLEANS = {"y": True, "yes": True, "on": True, "true": True, "n": False, "no": False, "off": False, "false": False}
_FLOAT = r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_RESOLVERS = (
    ("bool", r"[yYnN]|(yes|on|true|no|off|false)|(Yes|On|True|No|Off|False)|(YES|ON|TRUE|NO|OFF|FALSE)", "yYnNtTfFoO"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name; filled below


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return _BOOLEANS[loader.construct_scalar(node).lower()]


for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:bool", _boolean)


def load_all(text: str) -> Iterator[Any]:
    """Yields the documents of a file. Raises yaml.YAMLError."""
    return yaml.load_all(text, Loader=_Loader)


def load(text: str) -> Any:
    """Returns one document. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader

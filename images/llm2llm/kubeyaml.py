"""Tells which plain texts kubectl takes for something else, and writes YAML in which it takes none for that.

The table serves both directions: `manifests/kubectlyaml.py` reads by it, and `dump` quotes by it.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_FLOAT = r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_RESOLVERS = (
    ("bool", r"[yYnN]|(yes|on|true|no|off|false)|(Yes|On|True|No|Off|False)|(YES|ON|TRUE|NO|OFF|FALSE)", "yYnNtTfFoO"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("merge", r"<<", "<"),
)
_ENDS_OF_LINES = frozenset("\x85\u2028\u2029")


def add_resolvers(target: Any) -> None:
    """Has a loader or dumper of PyYAML take plain texts for what kubectl takes them for."""
    for tag, pattern, first in _RESOLVERS:
        target.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


class _Dumper(yaml.SafeDumper):
    """Quotes a text that PyYAML or kubectl would take for something else: `2e-4`, `y`, `08`."""

    def ignore_aliases(self, _: object) -> bool:
        """Writes every part in full: people read it."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Represents a text; in quotes with escapes if it has an end of a line that readers take for another."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _ENDS_OF_LINES & set(text) else None)


add_resolvers(_Dumper)
_Dumper.add_representer(str, _represent_text)


def dump(document: Any, *, width: int = 110) -> str:
    """Returns a document as YAML that people and kubectl read, with its keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)

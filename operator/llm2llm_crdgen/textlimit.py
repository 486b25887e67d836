"""Writes the CEL rule that limits how much text a list, a map or a block holds in all.

The number of entries and the length of each are limited by the schema, but their product is what has to be kept in
memory: 16 terms of 16 requirements with 64 values each are four megabytes.
"""

from __future__ import annotations

from typing import Any

from llm2llm.api.base import TEXT_LIMIT


def add_rule(schema: dict[str, Any], limit: int) -> None:
    """Adds the rule to a structural schema; its message is that of the validator, `llm2llm.api.base.TextLimit`."""
    rule = {"rule": f"{_size(schema, 'self', 0)} <= {limit}", "message": TEXT_LIMIT.format(limit)}
    schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", []), rule]


def _size(schema: dict[str, Any], value: str, depth: int) -> str:
    """Returns a CEL expression for the number of characters in all texts in a value, names of maps included."""
    variable = f"v{depth}"
    match schema["type"]:
        case "string":
            return f"size({value})"
        case "array":
            return f"{value}.map({variable}, {_size(schema['items'], variable, depth + 1)}).sum()"
        case "object" if "properties" in schema:
            return " + ".join(_sizes_of_fields(schema, value, depth)) or "0"
        case "object":
            inner = _size(schema["additionalProperties"], f"{value}[{variable}]", depth + 1)
            return f"{value}.map({variable}, size({variable}) + {inner}).sum()"
    return "0"


def _sizes_of_fields(schema: dict[str, Any], value: str, depth: int) -> list[str]:
    sizes = []
    for name, field in schema["properties"].items():
        size = _size(field, f"{value}.{name}", depth)
        if size != "0":
            always = name in schema.get("required", ())
            sizes.append(size if always else f"(has({value}.{name}) ? {size} : 0)")
    return sizes

"""Texts of a fixed form, such as quantities and URIs, and what is said of one that has another.

An OpenAPI `pattern` would be shown to users as it is, and nobody learns from a regular expression how to write a
fraction. So the form is a rule with a message of its own, the same one in the API server and in `llm2llm validate`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RULES_MARK = "x-llm2llm-rules"
"""In the JSON schema; the CRD's generator turns it into CEL rules."""
OTHER_FORM = "other_form"
"""Type of pydantic's error about a text that has not its form."""


@dataclass(frozen=True)
class ClusterRule:
    """A rule about a text that the API server alone applies: an annotation of its type.

    Attributes:
        rule: in CEL; `self` is the text.
        message: shown to the user.
    """

    rule: str
    message: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds the rule for the CRD's generator."""
        return _with_rule(handler(schema), self.rule, self.message)


@dataclass(frozen=True)
class Form:
    """The form of a text: an annotation of its type.

    Attributes:
        pattern: regular expression for the whole text, in the syntax that Python and RE2 share.
        message: says what the text must be, with an example.
        quoted: whether the API server quotes the text; not if it may be a key, in place of the name of its Secret.
    """

    pattern: str
    message: str
    quoted: bool = True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Adds the check to the type's own validation."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds the rule for the CRD's generator."""
        rule = f"self.matches(r'^({self.pattern})$')"
        expression = f'{json.dumps(self.message)} + ", not \'" + self + "\'"' if self.quoted else ""
        return _with_rule(handler(schema), rule, self.message, expression)

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            context = {"message": self.message, "pattern": self.pattern}
            raise PydanticCustomError(OTHER_FORM, "{message}", context)
        return value


def _with_rule(schema: dict[str, Any], rule: str, message: str, expression: str = "") -> dict[str, Any]:
    entry = {"rule": rule, "message": message} | ({"messageExpression": expression} if expression else {})
    return {**schema, RULES_MARK: [*schema.get(RULES_MARK, []), entry]}

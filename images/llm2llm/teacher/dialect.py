"""PURE: learns from an endpoint's refusals which parts of a request it understands.

OpenAI's parameters are not the same for all of its models, and other vendors know fewer of them. A rejected part is
sent in another form or left out, and the change is reported. A request's key covers what the spec asks for, so the
ledger stays valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_NAME = "example"
Form = Literal["json_schema", "json_object", "text"]
_FALLBACKS: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}
_SUCCESSORS = {"max_tokens": "max_completion_tokens"}
"""Parameters that newer models know by another name."""
_KNOWN = {
    "response_format",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "reasoning_effort",
    "service_tier",
}
"""Parameters that the client takes by name; all others travel in `extra_body`."""
_NO_SYSTEM = re.compile(
    r"(system|developer) (role|message|prompt|instruction)|\brole\b.*\bsystem\b|roles must alternate", re.IGNORECASE
)
"""Matches the refusals of the chat templates of Gemma ("System role not supported") and of Mistral, of OpenAI's
o1-mini, and of Google's API."""


@dataclass
class Dialect:
    """The form of requests that one endpoint accepts. `parameters` are those of `spec.generate.teacher`."""

    parameters: Mapping[str, str]
    form: Form = "json_schema"
    """How the request asks for the shape of an answer; the prompt asks for it in words in any case."""
    dropped: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    merged: bool = False
    """The system's text is sent at the beginning of the user's."""

    def messages(self, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Returns the chat in the form that this endpoint accepts."""
        first, *others = messages
        if not self.merged or first["role"] != "system" or not others:
            return list(messages)
        return [{**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}, *others[1:]]

    def adapt_roles(self, sent: Sequence[Mapping[str, str]], message: str) -> str | None:
        """Learns from the refusal of a chat that was `sent`; returns the same as `adapt`."""
        if sent[0]["role"] != "system" or not _NO_SYSTEM.search(message):
            return None
        if self.merged:
            return ""
        self.merged = True
        return "it does not accept the role system, whose text now starts the user message"

    def arguments(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all arguments of a request except model and messages."""
        chosen = {
            self.renamed.get(name, name): _value(text)
            for name, text in self.parameters.items()
            if name not in self.dropped
        }
        match self.form:
            case "json_schema":
                json_schema = {"name": SCHEMA_NAME, "schema": dict(schema), "strict": True}
                chosen["response_format"] = {"type": "json_schema", "json_schema": json_schema}
            case "json_object":
                chosen["response_format"] = {"type": "json_object"}
        extra = {name: value for name, value in chosen.items() if name not in _KNOWN}
        known = {name: value for name, value in chosen.items() if name in _KNOWN}
        return known | ({"extra_body": extra} if extra else {})

    def adapt(self, sent: Mapping[str, Any], parameters: Sequence[str], message: str) -> str | None:
        """Learns from the refusal of a request that was `sent`.

        Args:
            sent: the arguments, as `arguments` returned them.
            parameters: the parameters that the refusal names apart from its text; a part of one counts as the whole.
            message: the refusal's text.

        Returns:
            A description of the change from here on; '' if another request was refused for the same reason before;
            None if the refusal is about nothing that could be changed.
        """
        names = (set(sent) | set(sent.get("extra_body", ()))) - {"extra_body"}
        refused = _refused_names(names, parameters, message)
        if not refused and "response_format" in names and "schema" in message:
            refused = ["response_format"]
        if not refused:
            return None
        changes = [self._drop_or_replace(name, sent, message) for name in refused]
        return ", ".join(change for change in changes if change)

    def _drop_or_replace(self, name: str, sent: Mapping[str, Any], message: str) -> str:
        if name == "response_format":
            refused: Form = sent["response_format"]["type"]
            if self.form != refused:
                return ""
            self.form = _FALLBACKS[refused]
            return (
                f"it does not support {refused}; {'requesting' if self.form == 'json_object' else 'parsing'} "
                f"{self.form} instead"
            )
        original = next((old for old, new in self.renamed.items() if new == name), name)
        successor = _SUCCESSORS.get(name)
        if original in self.dropped or (name in self.renamed and successor):
            return ""
        if successor and successor in message:
            self.renamed[name] = successor
            return f"{name} is now sent as {successor}"
        self.dropped.add(original)
        return f"{original} is no longer sent"


def _refused_names(names: set[str], parameters: Sequence[str], message: str) -> list[str]:
    """Returns which of these names a refusal is about: its named parameters, else those that its text mentions."""
    top_names = dict.fromkeys(parameter.partition(".")[0] for parameter in parameters)
    named = [top_name for top_name in top_names if top_name in names]
    return named or [name for name in sorted(names) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message)]


def _value(text: str) -> Any:
    """Parses a parameter as written in the spec: as JSON if it is JSON ("0.8", "true"), else as the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text

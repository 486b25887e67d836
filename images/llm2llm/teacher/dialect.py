"""PURE: what of a request an endpoint understands, as its own refusals tell.

OpenAI's parameters are not the same for all of its models, and other vendors know fewer of them. What is refused is
sent in another form or left out, and told: the key of a request is over what was asked for, so the ledger stays valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_NAME = "example"
Form = Literal["json_schema", "json_object", "text"]
_NEXT: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}
_SUCCESSORS = {"max_tokens": "max_completion_tokens"}
"""Parameters that newer models want by another name."""
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
"""What the client takes by name; the rest travels in `extra_body`."""
_NO_SYSTEM = re.compile(
    r"(system|developer) (role|message|prompt|instruction)|\brole\b.*\bsystem\b|roles must alternate", re.IGNORECASE
)
"""Chat templates of Gemma ("System role not supported") and of Mistral, OpenAI's o1-mini, Google's API."""


@dataclass
class Dialect:
    """How one endpoint is spoken to. `parameters` are those of `spec.generate.teacher`."""

    parameters: Mapping[str, str]
    form: Form = "json_schema"
    """How the shape of an answer is asked for; the prompt asks for it in words in any case."""
    dropped: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    merged: bool = False
    """The system's text stands at the beginning of the user's."""

    def messages(self, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """The chat as this endpoint takes it."""
        first, *others = messages
        if not self.merged or first["role"] != "system" or not others:
            return list(messages)
        return [{**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}, *others[1:]]

    def adapt_roles(self, sent: Sequence[Mapping[str, str]], message: str) -> str | None:
        """Learns from a refusal of a chat that was `sent`; returns what `adapt` does."""
        if sent[0]["role"] != "system" or not _NO_SYSTEM.search(message):
            return None
        if self.merged:
            return ""
        self.merged = True
        return "it does not accept the role system, whose text now starts the user message"

    def arguments(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Everything of a request beside model and messages."""
        chosen = {
            self.renamed.get(name, name): _value(text)
            for name, text in self.parameters.items()
            if name not in self.dropped
        }
        match self.form:
            case "json_schema":
                wanted = {"name": SCHEMA_NAME, "schema": dict(schema), "strict": True}
                chosen["response_format"] = {"type": "json_schema", "json_schema": wanted}
            case "json_object":
                chosen["response_format"] = {"type": "json_object"}
        extra = {name: value for name, value in chosen.items() if name not in _KNOWN}
        known = {name: value for name, value in chosen.items() if name in _KNOWN}
        return known | ({"extra_body": extra} if extra else {})

    def adapt(self, sent: Mapping[str, Any], parameters: Sequence[str], message: str) -> str | None:
        """Learns from a refusal of what was `sent`.

        Args:
            sent: as `arguments` gave it.
            parameters: what the refusal names beside its words; a part of one counts as the whole.
            message: its words.

        Returns:
            What is done from here on, in words; '' where another request has met the same refusal before; None where
            the refusal is about nothing that could be changed.
        """
        names = (set(sent) | set(sent.get("extra_body", ()))) - {"extra_body"}
        refused = _named(names, parameters, message)
        if not refused and "response_format" in names and "schema" in message:
            refused = ["response_format"]
        if not refused:
            return None
        told = [self._without(name, sent, message) for name in refused]
        return ", ".join(words for words in told if words)

    def _without(self, name: str, sent: Mapping[str, Any], message: str) -> str:
        if name == "response_format":
            refused: Form = sent["response_format"]["type"]
            if self.form != refused:
                return ""
            self.form = _NEXT[refused]
            return (
                f"it does not support {refused}; {'requesting' if self.form == 'json_object' else 'parsing'} "
                f"{self.form} instead"
            )
        asked = next((old for old, new in self.renamed.items() if new == name), name)
        successor = _SUCCESSORS.get(name)
        if asked in self.dropped or (name in self.renamed and successor):
            return ""
        if successor and successor in message:
            self.renamed[name] = successor
            return f"{name} is now sent as {successor}"
        self.dropped.add(asked)
        return f"{asked} is no longer sent"


def _named(names: set[str], parameters: Sequence[str], message: str) -> list[str]:
    """Which of these a refusal is about: what it names as the parameters, else what its words mention."""
    tops = dict.fromkeys(parameter.partition(".")[0] for parameter in parameters)
    told = [top for top in tops if top in names]
    return told or [name for name in sorted(names) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message)]


def _value(text: str) -> Any:
    """A parameter as written in the spec: JSON where it is JSON ("0.8", "true"), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text

"""Takes the secrets out of what is passed on to others: objects, records of runs, and logs.

Objects are redacted by their structure: literal values of variables and of headers are hidden, whatever they look like,
and addresses lose their user and password. What was hidden may have been logged, too, so it is then masked in every
text, and so is what looks like a secret by what is written before it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm2llm.runtime.masking import MASK, Masker, is_secret, without_credentials

HIDDEN = "(not shown)"
_HEADERS = "extraHeaders"
_OWN_VARIABLE = "LLM2LLM_"
_AUTHORIZATION = re.compile(r"\b(bearer|basic|token)(\s+)([A-Za-z0-9._~+/=-]{6,})", re.IGNORECASE)
_SCHEMES = ("bearer", "basic", "token")
_WORD = re.compile(r"[A-Za-z][a-z]+(?:-[a-z]+)*")
"""What follows `token` and `basic` in prose."""
_ASSIGNED = re.compile(r"""([A-Za-z][\w.-]*)(["']?\s*[:=]\s*["']?)([^\s"',;&{}\[\]()]{6,})""")
_KNOWN_FORMS = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_\w{16,}|gh[pousr]_\w{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|eyJ[\w-]+\.[\w-]+\.[\w-]*)"
)
"""Keys of OpenAI, of the Hugging Face Hub, of GitHub and of AWS, and JSON Web Tokens."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def without_secrets(value: Any, name: str = "") -> Any:
    """Returns the value of a field, or an entry of it, without the values that people put secrets into."""
    match value:
        case dict() if name == _HEADERS:
            return dict.fromkeys(value, HIDDEN)
        case dict():
            hidden = {"value": HIDDEN} if name == "env" and _is_hidden(value) else {}
            return {key: without_secrets(each, key) for key, each in value.items()} | hidden
        case list() if name == "settings":
            return [_without_value(each) if isinstance(each, str) else each for each in value]
        case list():
            return [without_secrets(each, name) for each in value]
        case str():
            document = _document(value)
            if document is None:
                return without_credentials(value)
            redacted = without_secrets(document)
            return value if redacted == document else json.dumps(redacted)
    return value


def _is_hidden(variable: Mapping[str, Any]) -> bool:
    """Returns whether the literal value of a variable is hidden: that of a user, and what may be a secret."""
    name, value = str(variable.get("name")), variable.get("value")
    return isinstance(value, str) and (not name.startswith(_OWN_VARIABLE) or is_secret(name, value))


def _without_value(setting: str) -> str:
    """Returns a `--set PATH=VALUE` of a local run without what may be a secret."""
    path, equals, value = setting.partition("=")
    return f"{path}{equals}{HIDDEN if _is_secret_path(path, value) else without_credentials(value)}"


def _is_secret_path(path: str, value: str) -> bool:
    parts = path.split(".")
    return _HEADERS in parts or "env" in parts or is_secret(parts[-1], value)


def _document(text: str) -> Any:
    """Returns the JSON object that a text is, as an annotation or a variable may be; None if it is none."""
    if not text.startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _values(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yields the values in a document that may be secrets, or hold one, each with a name that tells which."""
    match value:
        case dict() if name == _HEADERS:
            yield from (("key", str(each)) for each in value.values())
        case dict():
            if name == "env" and _is_hidden(value):
                yield str(value.get("name")), value["value"]
            for key, each in value.items():
                yield from _values(each, key)
        case list():
            for each in value:
                yield from _values_of_setting(each) if name == "settings" else _values(each, name)
        case str():
            document = _document(value)
            yield from _values(document, "") if document is not None else [("address", value)]


def _values_of_setting(setting: object) -> Iterator[tuple[str, str]]:
    path, _, value = str(setting).partition("=")
    yield "key" if _is_secret_path(path, value) else "address", value


@dataclass
class Redactor:
    """Redacts documents and texts that belong together; `learn` all of them before the first is redacted.

    Attributes:
        counts: what was hidden or masked, to how often.
    """

    counts: Counter[str] = field(default_factory=Counter)
    _variables: dict[str, str] = field(default_factory=dict)
    _headers: dict[str, str] = field(default_factory=dict)
    _masker: Masker | None = None

    def learn(self, value: Any) -> None:
        """Remembers the values in a document that have to be masked wherever they occur."""
        for name, text in _values(value, ""):
            self._remember(name, text)

    def _remember(self, name: str, value: str) -> None:
        """Remembers a value: a secret as a header's, which may begin like a path, and another for its password."""
        if is_secret(name, value):
            self._headers[f"key-{len(self._headers)}"] = value
        elif "@" in value:
            self._variables[f"value-{len(self._variables)}"] = value

    def learn_environment(self, environ: Mapping[str, str]) -> None:
        """Remembers the secrets of an environment."""
        self._variables |= environ

    def document(self, value: Any) -> Any:
        """Returns a document without secrets."""
        redacted = without_secrets(value)
        self._count("values in objects", _hidden_in(redacted) - _hidden_in(value))
        return self._masked(redacted)

    def text(self, text: str) -> str:
        """Returns a text without secrets."""
        shown = self._mask(text)
        for line_form, kind in (
            (_AUTHORIZATION, "tokens of an authorization"),
            (_ASSIGNED, "values behind the name of a key"),
        ):
            shown = line_form.sub(lambda found, kind=kind: self._without_token(found, kind), shown)  # type: ignore[misc]
        shown, number = _KNOWN_FORMS.subn(MASK, shown)
        self._count("keys by their form", number)
        bare = without_credentials(shown)
        self._count("passwords in addresses", bare != shown)
        return bare

    def _masked(self, value: Any) -> Any:
        match value:
            case dict():
                return {self._mask(str(key)): self._masked(each) for key, each in value.items()}
            case list():
                return [self._masked(each) for each in value]
            case str() if (document := _document(value)) is not None:
                masked = self._masked(document)
                return value if masked == document else json.dumps(masked)
            case str():
                return value if value == HIDDEN else self.text(value)
        return value

    def _mask(self, text: str) -> str:
        if self._masker is None:
            self._masker = Masker(self._variables, self._headers)
        masked = self._masker(text)
        self._count("known values in texts", masked.count(MASK) - text.count(MASK))
        return masked

    def _without_token(self, found: re.Match[str], kind: str) -> str:
        name, between, value = found.groups()
        is_token = kind.startswith("tokens") or (is_secret(name, value) and not _DIGEST.match(value))
        is_prose = name.lower() in _SCHEMES[1:] and _WORD.fullmatch(value)
        if not is_token or is_prose or value.startswith((MASK, HIDDEN)) or value.lower() in _SCHEMES:
            return found[0]
        self._count(kind, 1)
        return f"{name}{between}{MASK}"

    def _count(self, kind: str, number: int) -> None:
        if number > 0:
            self.counts[kind] += number


def _hidden_in(value: Any) -> int:
    return sum(text.count(HIDDEN) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)
        case str():
            yield value

"""Masks secrets in what a step says: its output through Python, its log, its report, and what it quotes of others.

An endpoint may echo a key, a library may print its settings, and an error may quote an address with a password. So the
values are masked in every form in which they may be printed, in whole lines, before anything is cut. What is no secret
stays readable: a message without its paths and addresses helps nobody.

Not masked, and not in the stored log, is what goes past Python's streams to the pod's own output: from C, and from the
processes of vLLM's engine. Ranks of a training print by way of their parent (training/launch.py).
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, quote_plus, unquote

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.podenv import CREDENTIALS, HUB_TOKEN, MLFLOW_PASSWORD, MLFLOW_TOKEN, TEACHER_HUB_TOKEN, TEACHER_KEY

_OF_SECRETS = frozenset({*CREDENTIALS, HUB_TOKEN, MLFLOW_PASSWORD, MLFLOW_TOKEN, TEACHER_HUB_TOKEN, TEACHER_KEY})
"""Variables that hold a secret, whatever it looks like; those of a data set end like those of the artifacts."""
_SECRET_WORDS = frozenset(
    {
        "APIKEY", "AUTH", "AUTHORIZATION", "BEARER", "COOKIE", "CREDENTIAL", "CREDENTIALS", "JWT", "KEY", "PASS",
        "PASSPHRASE", "PASSWD", "PASSWORD", "PWD", "SECRET", "SIGNATURE", "SSHPASS", "TOKEN",
    }
)  # fmt: skip
"""A variable whose name has one of these words holds a secret, unless the rest of its name or its value says else."""
_OTHER_WORDS = frozenset(
    {
        "ADDR", "BACKEND", "COLUMN", "CONTROL", "DIR", "ENDPOINT", "FILE", "HOST", "ID", "LENGTH", "LIMIT", "NAME",
        "PATH", "PORT", "PROTO", "SOCK", "TYPE", "URI", "URL",
    }
)  # fmt: skip
"""Last words of names of variables that say where a secret is, or something about it: these have to be read."""
_NO_SECRETS = frozenset({"default", "disabled", "enabled", "false", "none", "true"})
_PLACE = re.compile(r"/|unix:|tcp://")
"""How values of variables begin that are a place: `SSH_AUTH_SOCK`, and what a cluster sets for its services. So may a
key begin: random bytes in base64."""
_USERINFO = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://([^@\s/:]+):(\S*)@")
_PROXY = re.compile(r"([^@\s/:\"'{}]+):(\S*)@[\w.-]+(?::\d+)?")
_AFTER_SCHEME = re.compile(r"(?<=://)\S+")
_USER = re.compile(r"^(?:[^\s/:@\[]+:(?!\d+/)\S*@|[^/\s@]*@)")
"""User and password, also one with a slash; not a host with its port, and an `@` in its path."""
_QUERY = re.compile(r"(?<=[?&])([^=&\s]+)=([^&#\s]*)")
_SHORTEST = 6
MASK = "***"


class Masker:
    """Replaces the secrets of an environment in a text.

    Args:
        environ: the values of variables whose names have a secret word count as secrets, and so do user names with
            passwords in the URLs of all others, as proxies have them.
        headers: HTTP headers; likewise, and each word of their values.
        public: a text that everybody may read: a value that occurs in it is a placeholder (`ollama`) and stays.
    """

    def __init__(self, environ: Mapping[str, str], headers: Mapping[str, str] | None = None, public: str = "") -> None:
        values = [value for name, value in environ.items() if is_secret(name, value) and not _is_place(name, value)]
        for name, value in (headers or {}).items():
            values += [value, *re.split(r"[\s;,=]+", value)] if is_secret(name, value) else ()
        for text in (*environ.values(), *(headers or {}).values()):
            values += _passwords(text) if "@" in text else ()
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST and form not in public}
        pattern = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        self._secrets = re.compile(pattern) if pattern else None
        self._forms = sorted(forms)
        self._longest = max(map(len, forms), default=0)

    def __call__(self, text: str) -> str:
        """Returns the text without secrets. Mask before you cut a text: the rest of a secret cannot be found."""
        return self._secrets.sub(MASK, text) if self._secrets else text

    def settled(self, text: str) -> int:
        """Returns how many characters of a text may be masked and shown before it goes on: the rest begins a secret."""
        if self._secrets is None:
            return len(text)
        starts = range(max(0, len(text) - self._longest), len(text))
        end = next((start for start in starts if self._begins_secret(text[start:])), len(text))
        whole = self._secrets.finditer(text)
        return next((found.start() for found in whole if found.start() < end < found.end()), end)

    def _begins_secret(self, text: str) -> bool:
        longer = bisect_right(self._forms, text)
        return longer < len(self._forms) and self._forms[longer].startswith(text)


def masker_of(spec: AugmentationRunSpec, environ: Mapping[str, str]) -> Masker:
    """Returns the masker of a step: of its environment, and of what its spec has of headers and addresses."""
    teacher = spec.generate.teacher
    endpoints = {f"endpoint of {name}": source.endpoint for name, source in spec.data.sources().items()}
    addresses = {**endpoints, "base_url": teacher.base_url or "", "endpoint": spec.artifacts.endpoint}
    public = " ".join((*map(without_credentials, addresses.values()), spec.artifacts.uri))
    return Masker({**environ, **addresses}, teacher.extra_headers, public)


def without_credentials(text: str) -> str:
    """Returns a text whose addresses have no user and password any more, and no key in their query."""
    return _AFTER_SCHEME.sub(lambda found: _QUERY.sub(_without_key, _USER.sub("", found[0])), text)


def _without_key(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if is_secret(found[1], found[2]) else found[0]


def is_secret(name: str, value: str) -> bool:
    """Returns whether a variable or a header of this name and with this value is a secret."""
    if value.strip().lower() in _NO_SECRETS:
        return False
    if _is_of_secret(name):
        return True
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    return words != ["PWD"] and bool(_SECRET_WORDS & set(words)) and words[-1] not in _OTHER_WORDS


def _is_of_secret(name: str) -> bool:
    return name in _OF_SECRETS or name.removeprefix("LLM2LLM_").partition("_")[2] in CREDENTIALS


def _is_place(name: str, value: str) -> bool:
    return not _is_of_secret(name) and _PLACE.match(value) is not None


def _passwords(value: str) -> Iterator[str]:
    """Yields the passwords of URLs, with their users; a `#` or `/` in a password ends its host too early."""
    for address in {value, *re.split(r"[\s,]+", value)}:
        found = _USERINFO.match(address) or _PROXY.fullmatch(address)
        if found is None:
            continue
        user, password = found[1], found[2]
        port, slash, _ = password.partition("/")
        if slash and port.isdecimal():
            continue  # a host with its port, and an `@` in its path
        yield password
        yield f"{user}:{password}"
        yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def _forms(value: str) -> Iterator[str]:
    """Yields a value as it may be printed: stripped, line by line, escaped, and encoded."""
    bare = value.strip().strip("\ufeff")
    for text in {value, bare, unquote(bare), *(line.strip() for line in value.splitlines())}:
        yield text
        yield repr(text)[1:-1]
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield json.dumps(text)[1:-1].replace("/", r"\/")
        with suppress(UnicodeEncodeError):  # a lone surrogate: bytes that are no text
            yield quote(text, safe="")
            yield quote(text)
            yield quote_plus(text)
            yield base64.b64encode(text.encode()).decode()
    with suppress(UnicodeEncodeError):
        yield base64.b64encode(f":{bare}".encode()).decode()  # Basic authorization without a user
        yield from _within_base64(bare.encode())


def _within_base64(secret: bytes) -> Iterator[str]:
    """Yields what any base64 of a secret with something before it has in common, e.g. Basic authorization.

    A character has 6 bits: those count that are of the secret alone, for each place in a group of 3 bytes.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        yield encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]

"""Takes the values of Secrets out of a step's environment, once, in the form in which they are used.

A newline at the end is a common slip and never part of a key. Anything else that cannot stand in an HTTP header is an
error that names the Secret, since the library that first meets it would quote the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import AuthenticationError
from llm2llm.loop.stages import STAGES
from llm2llm.podenv import CREDENTIALS, HUB_TOKEN, MLFLOW_KEYS, secret_variables
from llm2llm.records import Kind, Stage

_PRINTABLE = re.compile(r"[\x21-\x7e]*")


def take_secrets(
    spec: AugmentationRunSpec, stage: Stage, environ: Mapping[str, str], kind: Kind = Kind.RUN
) -> dict[str, str]:
    """Returns the environment with the values of this step's Secrets stripped.

    The same is done with the keys of buckets and of the Hub that it has without a Secret, if the step reads from there.
    Those of a tracking server stay as they are: what is wrong with them must not fail a step (report/mlflow.py).

    Raises:
        AuthenticationError: a value has a line break or a blank in it, or a character that is not ASCII; the message
            names the Secret and the key, or the variable, and does not quote the value.
    """
    sources = {name: f"environment variable {name}" for name in _own_keys(spec, stage, kind)}
    sources |= {
        variable.name: f"Secret {variable.secret}, key {variable.key}"
        for variable in secret_variables(spec, stage, kind)
        if variable.name not in MLFLOW_KEYS
    }
    taken = dict(environ)
    for name, source in sources.items():
        if name in environ:
            taken[name] = stripped_key(environ[name], source)
    return taken


def _own_keys(spec: AugmentationRunSpec, stage: Stage, kind: Kind) -> Iterator[str]:
    """Yields the variables of an environment's own keys that a step uses, by what it reads."""
    uris = [spec.artifacts.uri]
    if kind is Kind.RUN:
        traits, teacher = STAGES[stage], spec.generate.teacher.source
        uris += [other.uri for other in spec.reuse_from]
        uris += [source.uri or "" for source in spec.data.sources().values()] if traits.reads_sources else []
        uris += [spec.student.model.uri] if traits.loads_student else []
        uris += [teacher.uri] if teacher and traits.asks_teacher else []
    schemes = {uri.partition("://")[0] for uri in uris}
    if "s3" in schemes:
        yield from CREDENTIALS
    if "hf" in schemes:
        yield HUB_TOKEN


def stripped_key(value: str, source: str) -> str:
    """Returns a key without the blanks around it.

    Raises:
        AuthenticationError: no header can hold it; the message names the source and does not quote the value.
    """
    stripped = value.strip()
    if not _PRINTABLE.fullmatch(stripped):
        raise AuthenticationError(f"{source} {describe_defect(stripped)}: create it again")
    return stripped


def describe_defect(value: str) -> str:
    """Returns why a value cannot be sent in a header, without the value."""
    if value.startswith("\ufeff"):
        return "begins with a byte order mark, which some editors add to a file"
    position = next(number for number, letter in enumerate(value, 1) if not _PRINTABLE.fullmatch(letter))
    letter = value[position - 1]
    if "\udc80" <= letter <= "\udcff":
        return f"is no text (byte 0x{ord(letter) - 0xDC00:02X} at character {position})"
    if letter in "\r\n\v\f\x85\u2028\u2029":
        return f"has more than one line (a line break at character {position})"
    if letter.isspace():
        return f"has a blank at character {position}"
    return f"has a character that is not printable ASCII (U+{ord(letter):04X}, character {position})"

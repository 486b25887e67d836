"""Takes the `--secret` options of the command line, and compares them with the Secrets that a run names.

What follows the `=` is a variable's name; whoever writes the key itself there must not find it in a terminal or a log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import InvalidManifest
from llm2llm.loop.stages import STAGES
from llm2llm.manifests.checks import uris_of
from llm2llm.podenv import CREDENTIALS, HUB_TOKEN, TEACHER_HUB_TOKEN, SecretVariable, secret_variables
from llm2llm.suggestion import closest

Secrets = Mapping[str, Mapping[str, str]]
_TEACHER = "the teacher"
_FORM = "must be NAME/KEY=ENVVAR: the Secret and key that the manifest names, and a variable that holds the value"


def add_secrets(
    secrets: Secrets, settings: Sequence[str], environ: Mapping[str, str], spec: AugmentationRunSpec
) -> dict[str, dict[str, str]]:
    """Returns the Secrets with each `name/key=ENVVAR` added.

    A part of a setting is shown only if the spec has it: base64 ends with `=`, so any part may be of a key.

    Raises:
        InvalidManifest: a setting has another form, or its variable is not set; the message quotes no value.
    """
    added = {name: dict(values) for name, values in secrets.items()}
    problems = []
    known = _addresses(spec)
    for setting in settings:
        address, _, variable = setting.partition("=")
        name, _, key = address.partition("/")
        shown = address if address in known else "..."
        if not (name and key and variable):
            problems.append(f"--secret {shown}: {_FORM}")
        elif variable not in environ:
            problems.append(f"--secret {shown}: {_unset(variable, environ)}")
        else:
            added.setdefault(name, {})[key] = environ[variable]
    if problems:
        raise InvalidManifest(problems)
    return added


def _unset(variable: str, environ: Mapping[str, str]) -> str:
    """Says that a variable is not set, without its name: it may be the key."""
    name = closest(variable, environ) if variable.isupper() else None
    if name is not None:
        return f"no environment variable has the name that follows the =: did you mean {name}?"
    return (
        "no environment variable has the name that follows the =; if that is the key itself, put it into a variable "
        "and write the variable's name: read -rs MY_KEY; export MY_KEY"
    )


def missing_secrets(spec: AugmentationRunSpec, secrets: Secrets, environ: Mapping[str, str]) -> Iterator[str]:
    """Yields the keys that the steps of a run need and nothing gives, each with the option that would.

    A key of a bucket or of the Hub is needed only if an address of the run is there, and the teacher's only if a run
    has more than one iteration.
    """
    opened = {uri.partition("://")[0] for _, uri in uris_of(spec)} | {_TEACHER if spec.max_iterations > 1 else ""}
    for variable in _named(spec):
        given = variable.name in environ or variable.key in secrets.get(variable.secret, {})
        if not (given or variable.optional) and _opens(variable) in opened:
            yield (
                f"Secret {variable.secret}, key {variable.key} is missing: add "
                f"--secret {variable.secret}/{variable.key}"
                "=ENVVAR, with the name of the variable that holds it, or pass a file with the Secret"
            )


def _opens(variable: SecretVariable) -> str:
    """Returns what a key opens: the scheme of addresses, or the teacher's endpoint."""
    if variable.name.endswith(CREDENTIALS):
        return "s3"
    return "hf" if variable.name in (HUB_TOKEN, TEACHER_HUB_TOKEN) else _TEACHER


def unused_secrets(spec: AugmentationRunSpec, settings: Sequence[str]) -> Iterator[str]:
    """Yields the `--secret` options that give what no field of the spec names."""
    names = _addresses(spec)
    for setting in settings:
        address = setting.partition("=")[0]
        if address not in names:
            close = closest(address, names)
            meant = f": did you mean {close}?" if close else ""
            yield f"--secret {address}: no field of the spec names this Secret and key{meant}"


def _addresses(spec: AugmentationRunSpec) -> list[str]:
    """Returns `name/key` of each Secret and key that the spec names."""
    return [f"{variable.secret}/{variable.key}" for variable in _named(spec)]


def _named(spec: AugmentationRunSpec) -> list[SecretVariable]:
    """Returns the variables from Secrets that the spec names, for all steps together."""
    return list(dict.fromkeys(variable for stage in STAGES for variable in secret_variables(spec, stage)))

"""Writes a support archive: what is known of a run, for those who help with it, without rows, weights, and secrets.

What a run's logs quote of its rows stays in them. All parts are read before the first is redacted, because what one
part has of a key another may have logged.
"""

from __future__ import annotations

import io
import json
import platform
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm2llm.errors import ConfigurationError, StepError
from llm2llm.kubeyaml import dump
from llm2llm.layout import LOGS
from llm2llm.local.record import RECORD
from llm2llm.report.views import BEST
from llm2llm.runtime.redaction import Redactor
from llm2llm.storage import Store

LOG_LINES = 5000
"""Maximum lines of a log, the last ones."""
LOG_CHARACTERS = 1_000_000
NEWEST_LOGS = 100
_CONTENTS = "CONTENTS.txt"
_DOCUMENTS = (RECORD, BEST)
_MANIFEST = "manifest.json"


@dataclass
class Bundle:
    """What is known of a run, as it was read.

    Attributes:
        name: of the run.
        documents: path in the archive to an object, which is written as JSON or YAML by the end of the path.
        texts: path to a log.
        unread: what could not be read, to why.
    """

    name: str
    documents: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """An archive that was written.

    Attributes:
        sizes: its files, to their bytes.
        redacted: what was redacted in them, to how often.
        unread: what could not be read, to why.
    """

    file: Path
    sizes: Mapping[str, int]
    redacted: Mapping[str, int]
    unread: Mapping[str, str]


def bundle_of_store(name: str, store: Store) -> Bundle:
    """Returns what a run has left in its store: its record, the reports of its steps, and its newest logs.

    Raises:
        StepError: the store cannot be listed.
    """
    bundle = Bundle(name)
    keys = list(store.list(""))
    logs = [key for key in keys if key.startswith(LOGS)]
    for key in [key for key in keys if key in _DOCUMENTS or key.rpartition("/")[2] == _MANIFEST] + newest(logs):
        try:
            text = store.read(key).decode(errors="replace")
        except StepError as error:
            bundle.unread[key] = error.message
            continue
        try:
            document = None if key in logs else json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if document is None:
            bundle.texts[key] = tail_of(text)
        else:
            bundle.documents[key] = document
    return bundle


def newest(logs: Iterable[str]) -> list[str]:
    """Returns the logs of the last steps: their names begin with the iteration."""
    return sorted(logs)[-NEWEST_LOGS:]


def tail_of(text: str) -> str:
    """Returns the last lines of a log: whole ones, because of a key that is cut nothing is recognized."""
    kept: list[str] = []
    characters = 0
    for line in reversed(text.splitlines()[-LOG_LINES:]):
        characters += len(line) + 1
        if kept and characters > LOG_CHARACTERS:
            break
        kept.append(line)
    return "".join(f"{line}\n" for line in reversed(kept))


def write_bundle(
    bundle: Bundle, file: Path, environ: Mapping[str, str], now: datetime, *, overwrite: bool = False
) -> Written:
    """Writes what was read, redacted.

    Args:
        bundle: what was read.
        file: to write.
        environ: of this process, whose keys a log may quote.
        now: stands in the archive.
        overwrite: writes over a file that is there.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    redactor = Redactor()
    redactor.learn_environment(environ)
    for document in bundle.documents.values():
        redactor.learn(document)
    files = {path: _written(path, redactor.document(document)) for path, document in bundle.documents.items()}
    files |= {path: redactor.text(text) for path, text in bundle.texts.items()}
    unread = {what: redactor.text(why) for what, why in bundle.unread.items()}
    about = _about(bundle, unread, redactor.counts, now)
    content = {path: text.encode() for path, text in {_CONTENTS: about, **files}.items()}
    archive = _archive(f"{bundle.name}-bundle", content, int(now.timestamp()))
    try:
        with file.open("wb" if overwrite else "xb") as stream:
            stream.write(archive)
    except FileExistsError:
        raise ConfigurationError(f"{file} exists: use --force, or name another file with --file") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}: name another file with --file") from error
    sizes = {path: len(data) for path, data in content.items()}
    return Written(file, sizes, dict(redactor.counts), unread)


def _written(path: str, document: Any) -> str:
    return dump(document) if path.endswith(".yaml") else json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _about(bundle: Bundle, unread: Mapping[str, str], redacted: Mapping[str, int], now: datetime) -> str:
    """Returns the page that says what the archive holds."""
    return "".join(f"{line}\n" for line in _about_lines(bundle, unread, redacted, now))


def _about_lines(
    bundle: Bundle, unread: Mapping[str, str], redacted: Mapping[str, int], now: datetime
) -> Iterator[str]:
    yield f"run: {bundle.name}"
    yield f"collected: {now.isoformat(timespec='seconds')}"
    yield f"by: llm2llm {version('llm2llm-operator')}, Python {platform.python_version()}, {sys.platform}"
    yield ""
    yield from (path for path in (*bundle.documents, *bundle.texts))
    yield ""
    yield from describe_redacted(redacted)
    yield from describe_unread(unread)


def describe_redacted(redacted: Mapping[str, int]) -> Iterator[str]:
    """Yields a sentence for what was redacted."""
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(redacted.items()))
    yield f"redacted: {counts or 'nothing that looks like a secret was found'}"


def describe_unread(unread: Mapping[str, str]) -> Iterator[str]:
    """Yields a sentence for each part that could not be read."""
    yield from (f"not readable: {what}: {why}" for what, why in unread.items())


def _archive(folder: str, files: Mapping[str, bytes], mtime: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{path}")
            entry.size, entry.mtime = len(data), mtime
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()

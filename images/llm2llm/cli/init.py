"""`llm2llm init`: writes a manifest for a table of examples."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from llm2llm.cli.results import reading

STUDENT = "hf://Qwen/Qwen2.5-0.5B-Instruct"
TEACHER = "my-teacher"
BASE_URL = "http://localhost:8000/v1"


def init(
    data: Annotated[Path, typer.Argument(help="A table of examples: CSV, TSV or JSON Lines.", show_default=False)],
    file: Annotated[Path, typer.Option("--file", "-f", help="New file for the manifest.")] = Path("run.yaml"),
    answer: Annotated[str, typer.Option(help="Column with the right answer.", show_default=False)] = "",
    prompt: Annotated[
        list[str] | None, typer.Option(help="Column that the student reads; may be repeated.", show_default=False)
    ] = None,
    student: Annotated[str, typer.Option(help="Base model to fine-tune.", show_default=False)] = "",
    teacher: Annotated[str, typer.Option(help="Name of the teacher's model at its endpoint.")] = TEACHER,
    base_url: Annotated[str, typer.Option(help="Address of the teacher's endpoint.", show_default=False)] = "",
) -> None:
    """Write a commented manifest for a table of examples; it reports what it guessed, and asks for what it cannot know.

    Example: llm2llm init tickets.csv --answer queue
    """
    from llm2llm.drafts.draft import Choices, columns_named, guess, write_manifest
    from llm2llm.drafts.rewrite import settle_rows
    from llm2llm.drafts.tables import read_table
    from llm2llm.errors import DataError
    from llm2llm.manifests.kubectlyaml import load
    from llm2llm.manifests.problems import validate_spec
    from llm2llm.plaintext import plain

    with reading():
        if file.exists():
            raise DataError(f"{file} exists: name another file with --file, or delete it")
        table = read_table(data)
        draft = guess(table.rows, answer, prompt or ())
        if not answer:
            draft = guess(table.rows, _ask("Which column is the right answer?", draft.answer), prompt or ())
        if not prompt:
            guessed = ", ".join(draft.prompt)
            columns = _ask("Which columns does the student read (separated by commas)?", guessed)
            if columns != guessed:
                known = {name for row in table.rows for name in row}
                draft = guess(table.rows, draft.answer, columns_named(columns, known))
        student = student or _ask("Which model is fine-tuned?", STUDENT)
        base_url = base_url or _ask("Where is the teacher?", BASE_URL)
        choices = Choices(_name_of(data), data.absolute().as_uri(), student, teacher, base_url)
        spec = validate_spec(load(write_manifest(draft, choices)))
        settled = settle_rows(data, table, file.with_name(f"{data.stem}.rows.csv"), spec)
        _write(write_manifest(draft, replace(choices, uri=settled.path.absolute().as_uri())), file)
        print(f"{data}: {len(table.rows):,} rows, {draft.rows:,} with an answer in {draft.answer!r}")
        print(f"the student reads: {', '.join(draft.prompt)}")
        if draft.labels:
            print(f"{len(draft.labels)} labels: {', '.join(draft.labels)}")
        differences = (f"{data} {difference}: the run reads {settled.path} instead" for difference in settled.differs)
        problems = (f"{settled.path} {problem}" for problem in settled.problems)
        for sentence in (*differences, *problems, *draft.notes):
            print(plain(f"look at this: {sentence}"))
        print(f"\nwrote {file}; next: llm2llm validate {file}")
        print(f"then: llm2llm run {file} --workdir out --secret teacher/api-key=TEACHER_API_KEY")


def _write(manifest: str, file: Path) -> None:
    """Writes a new manifest.

    Raises:
        ConfigurationError: it cannot be written.
    """
    from llm2llm.errors import ConfigurationError

    try:
        file.write_text(manifest, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}: name another file with --file") from error


def _ask(question: str, guessed: str) -> str:
    """Asks a person; takes the guess where there is none."""
    if not sys.stdin.isatty():
        return guessed
    return str(typer.prompt(question, default=guessed))


def _name_of(data: Path) -> str:
    """Returns a name that Kubernetes takes for an object."""
    return re.sub(r"[^a-z0-9]+", "-", data.stem.lower()).strip("-")[:40].strip("-") or "run"

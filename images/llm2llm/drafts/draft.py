"""PURE: guesses from a table of examples how a run would use it, and writes a manifest with comments for it.

Every guess is told, and is a line of the manifest that can be changed: which column is the answer, which ones the
student reads, whether the answers are classes, and how many rows are held out.
"""

from __future__ import annotations

import difflib
import itertools
import json
import keyword
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from llm2llm.api.data import folded
from llm2llm.errors import DataError
from llm2llm.plaintext import plain

ANSWERS = (
    *("label", "class", "category", "intent", "queue", "target", "answer", "completion", "sentiment", "topic", "tag"),
    *("type", "output", "response", "y"),
)
"""Names of columns that usually hold the answer, the likeliest first."""
IDENTITIES = ("id", "uuid", "key", "number", "no")
MOST_CLASSES = 100
LABEL_LIMIT = 253
"""Maximum characters of a label in a manifest: longer ones are texts."""
FEWEST_ROWS_OF_A_CLASS = 3
"""Average number of rows of a class below which the answers are texts rather than classes."""
RARE = 2
"""Rows of a class that may be a misspelling of another."""
ALIKE = 0.8
"""Similarity (difflib's ratio) from which on two labels may be one."""
SHORT_TEXT = 12
"""Average characters below which a column is a code or a date rather than a text to read."""
_TAKEN = ("id", "completion", *keyword.kwlist, *("true", "false", "none", "loop", "self", "range", "dict", "namespace"))
"""Names that mean something else in a template or a mapping."""
ENOUGH_FOR_A_TEST = 300
"""Rows from which on a test set is held out beside the evaluation set."""

Table = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ManifestDraft:
    """What was guessed of a table.

    Attributes:
        rows: number of rows with an answer.
        answer: column with the right answer.
        prompt: columns that the student reads.
        identity: column that names the rows; '' if there is none.
        labels: the classes; empty if the answers are texts.
        notes: what a person should look at, in sentences.
    """

    rows: int
    answer: str
    prompt: tuple[str, ...]
    identity: str
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def guess(table: Table, answer: str = "", prompt: Sequence[str] = ()) -> ManifestDraft:
    """Guesses how to use a table.

    Args:
        table: rows with the same columns.
        answer: column of the answer, if a person has named it.
        prompt: columns that the student reads, if a person has named them.

    Raises:
        DataError: it has no rows, a named column is none, or the student would read the answer.
    """
    columns = list(dict.fromkeys(name for row in table for name in row))
    if not table or len(columns) < 2:  # noqa: PLR2004 - something to read, and an answer
        raise DataError(f"a table needs rows and at least two columns, and this one has {len(table)} and {columns}")
    for named in (answer, *prompt):
        if named and named not in columns:
            raise DataError(f"there is no column {named!r}: the columns are {', '.join(columns)}")
    answer = answer or _answer_in(table, columns)
    if answer in prompt:
        raise DataError(f"column {answer!r} is the answer: a student that reads it learns nothing, so name others")
    answered = [row for row in table if row.get(answer, "").strip()]
    identity = _identity_in(table, columns, answer)
    texts = tuple(prompt) or _texts_in(table, [name for name in columns if name not in (answer, identity)])
    counts = Counter(row[answer].strip() for row in answered)
    labels = _labels(counts)
    notes = [*_odd_labels(counts)] if labels else []
    return ManifestDraft(len(answered), answer, texts, identity, labels, tuple(notes))


def _answer_in(table: Table, columns: Sequence[str]) -> str:
    """Returns the column with the usual name, or the one with the fewest different values, a later one if equal."""
    for name in ANSWERS:
        found = [column for column in columns if folded(column) == name]
        if found:
            return found[0]
    several = {column: len({row.get(column, "") for row in table}) for column in columns}
    several = {column: count for column, count in several.items() if count > 1} or several
    return min(reversed(columns), key=lambda column: several.get(column, len(table) + 1))


def _identity_in(table: Table, columns: Sequence[str], answer: str) -> str:
    for column in columns:
        words = folded(column).replace("_", " ").replace("-", " ").split()
        values = {row.get(column, "") for row in table}
        if column != answer and words and words[-1] in IDENTITIES and len(values) == len(table):
            return column
    return ""


def _texts_in(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    """Returns the columns that hold texts; the longest one if none seems to."""
    lengths = {column: sum(len(row.get(column, "")) for row in table) / len(table) for column in columns}
    texts = tuple(column for column in columns if lengths[column] >= SHORT_TEXT and not _is_regular(table, column))
    return texts or (max(columns, key=lambda column: lengths[column]),)


def _is_regular(table: Table, column: str) -> bool:
    """Tells whether all values have one form, as dates, numbers and codes have, whatever their length."""
    forms = {"".join("0" if char.isdigit() else "a" if char.isalpha() else char for char in row.get(column, ""))
             for row in table}  # fmt: skip
    return len(forms) <= max(1, len(table) // 20)


def _labels(counts: Counter[str]) -> tuple[str, ...]:
    """Returns the answers as classes, one spelling of each; empty if there are too many or too long ones for that."""
    spellings: dict[str, str] = {}
    for answer, _ in counts.most_common():
        spellings.setdefault(folded(answer), answer)
    if max(map(len, spellings.values()), default=0) > LABEL_LIMIT:
        return ()
    if len(spellings) > min(MOST_CLASSES, counts.total() / FEWEST_ROWS_OF_A_CLASS):
        return ()
    return tuple(sorted(spellings.values()))


def _odd_labels(counts: Counter[str]) -> list[str]:
    """Says which labels are spelled in several ways, and which rare ones resemble a frequent one."""
    notes = []
    by_folded: dict[str, list[str]] = {}
    for answer in counts:
        by_folded.setdefault(folded(answer), []).append(answer)
    notes = [
        f"{' and '.join(repr(one) for one in spellings)} count as one label"
        for spellings in by_folded.values()
        if len(spellings) > 1
    ]
    totals = {key: sum(counts[one] for one in spellings) for key, spellings in by_folded.items()}
    for key, total in totals.items():
        others = [other for other, count in totals.items() if other != key and count > RARE]
        alike = difflib.get_close_matches(key, others, n=1, cutoff=ALIKE) if total <= RARE else []
        if alike:
            rows = "1 row has" if total == 1 else f"{total} rows have"
            notes.append(
                f"{rows} the label {by_folded[key][0]!r}, which may be {by_folded[alike[0]][0]!r}: correct the file, "
                "or it is a class of its own"
            )
        elif total <= RARE:
            notes.append(f"the label {by_folded[key][0]!r} has only {total} row{'s' if total > 1 else ''}")
    return notes


@dataclass(frozen=True)
class Choices:
    """What a table does not say: the model to train, whom to ask, and how the run is called."""

    name: str
    uri: str
    student: str
    teacher: str
    base_url: str


def write_manifest(draft: ManifestDraft, choices: Choices) -> str:
    """Returns a manifest for `llm2llm run`, with a comment at everything that was guessed or chosen."""
    names = _variables(draft.prompt)
    fields = {**{variable: column for column, variable in names.items()}, "completion": draft.answer}
    if draft.identity:
        fields["id"] = draft.identity
    return "\n".join((
        "# Written by `llm2llm init`: read it once from top to bottom, then `llm2llm validate` and `llm2llm run` it.",
        "apiVersion: llm2llm.dev/v1alpha1",
        "kind: AugmentationRun",
        "metadata:",
        f"  name: {_quoted(choices.name)}",
        "spec:",
        "  # Each iteration trains the student, finds what it gets wrong, and has the teacher write rows like that.",
        "  maxIterations: 3",
        "  # Mistakes are looked for among rows that the student was not trained on: it soon memorizes the others.",
        "  errorsFrom: Probe",
        *_objective(draft),
        "",
        "  # What the student reads, and what it has to answer.",
        "  task:",
        "    promptTemplate: |-",
        *(f"      {line}" for line in _template(draft, names)),
        *_grader(draft),
        "",
        f"  # {draft.rows:,} rows have an answer. What is held out is never trained on and never shown to the teacher.",
        "  data:",
        "    seed:",
        f"      uri: {_quoted(choices.uri)}",
        "      # name in the task: column of the file",
        f"      fields: {{{', '.join(f'{name}: {_quoted(column)}' for name, column in fields.items())}}}",
        *_held_out(draft),
        "",
        "  # Any causal language model in Hugging Face format: hf://owner/name, or file:///a/folder here.",
        "  student:",
        f"    model: {{uri: {_quoted(choices.student)}}}",
        "",
        "  # `--workdir` replaces it; on a cluster, a bucket: s3://bucket/runs.",
        "  artifacts:",
        "    uri: file:///tmp/llm2llm",
        "",
        "  # Who writes the new rows: any endpoint with an OpenAI-compatible API. The key is read from a Secret on a",
        "  # cluster, and here from a variable: --secret teacher/api-key=TEACHER_API_KEY.",
        "  generate:",
        "    teacher:",
        f"      model: {_quoted(choices.teacher)}",
        f"      baseUrl: {_quoted(choices.base_url)}",
        "      apiKeySecretRef: {name: teacher, key: api-key}",
        "    # Say in your own words what the rows are, and when which answer is right: it decides what you get.",
        "    instructions: >-",
        f"      {_instructions(draft)}",
        "    examplesPerMistake: 2",
        "",
        "  # The run waits when it is reached; `llm2llm run` goes on when you raise it.",
        "  budget:",
        "    maxTeacherTokens: 500000",
    )) + "\n"  # fmt: skip


def _variables(columns: Sequence[str]) -> dict[str, str]:
    """Returns a name for each column that a template can use, all different."""
    names: dict[str, str] = {}
    for place, column in enumerate(columns, 1):
        name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:40]
        taken = (*_TAKEN, *names.values())
        usable = name and not name[0].isdigit() and name not in taken
        others = (f"text{number}" for number in itertools.count(place))
        names[column] = name if usable else next(other for other in others if other not in taken)
    return names


def columns_named(text: str, columns: Collection[str]) -> list[str]:
    """Returns the columns in a list that a person typed, separated by commas; a name may have commas and blanks."""
    parts, names = text.split(","), []
    while parts:
        beginnings = [",".join(parts[:count]) for count in range(len(parts), 0, -1)]
        found = [name for beginning in beginnings for name in (beginning, beginning.strip()) if name in columns]
        names.append(found[0] if found else parts[0].strip())
        parts = parts[names[-1].count(",") + 1 :]
    return names


def _objective(draft: ManifestDraft) -> list[str]:
    if not draft.labels:
        return []
    return ["  # Rare classes count as much as frequent ones.", "  objective: {metric: macroF1}"]


def _template(draft: ManifestDraft, names: Mapping[str, str]) -> list[str]:
    if len(draft.prompt) == 1:
        return [f"{{{{ {names[draft.prompt[0]]} }}}}", f"{_title(draft.answer)}:"]
    return [*(f"{_title(column)}: {{{{ {names[column]} }}}}" for column in draft.prompt), f"{_title(draft.answer)}:"]


def _title(column: str) -> str:
    """Returns a column's name as text of a template: without what the template would act on."""
    return re.sub(r"[{}#%]", "", plain(column)).strip() or "Text"


def _grader(draft: ManifestDraft) -> list[str]:
    if not draft.labels:
        return [
            "    # Right is what equals the answer in the file, but for blanks and case; Numeric and Regex are others.",
            "    grader: {type: ExactMatch}",
        ]
    lines = ["    # Right is what is one of the labels, and the one in the file.", "    grader: {type: Choice}"]
    return [*lines, "    labels:", *(f"      - {_quoted(label)}" for label in draft.labels)]


def _held_out(draft: ManifestDraft) -> list[str]:
    stratified = ", stratify: true" if draft.labels else ""
    lines = [
        "    # scored in every iteration, to choose the best one",
        f'    evaluation: {{fromSeed: {{fraction: "0.2"{stratified}}}}}',
    ]
    if draft.rows >= ENOUGH_FOR_A_TEST:
        lines += [
            "    # scored once, at the end: the number to tell others",
            f'    test: {{fromSeed: {{fraction: "0.2"{stratified}}}}}',
        ]
    return lines


def _instructions(draft: ManifestDraft) -> str:
    columns = " and ".join(draft.prompt)
    if draft.labels:
        return plain(f"Each row has {columns}, and is sorted into one of these classes: {', '.join(draft.labels)}.")
    return plain(f"Each row has {columns}; the answer is its {draft.answer}.")


def _quoted(text: str) -> str:
    """Returns a text as YAML takes it, whatever is in it: JSON is YAML, but for a few characters."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", quoted)

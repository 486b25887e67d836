"""What is guessed of a table, and the manifest for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from llm2llm.drafts.draft import Choices, ManifestDraft, columns_named, guess, write_manifest
from llm2llm.errors import DataError
from llm2llm.manifests.documents import validate_run
from llm2llm.tasks import task_of

CHOICES = Choices("tickets", "file:///rows.csv", "hf://owner/model", "teacher", "http://teacher/v1")


def tickets(count: int = 60, **changes: str) -> list[dict[str, str]]:
    """Support tickets in three queues."""
    queues = ("Billing", "Delivery", "Returns")
    return [
        {
            "ticket_id": f"T-{number:04}",
            "date": f"2024-03-{number % 28 + 1:02}",
            "subject": "question about " + "order " * (number % 5 + 1),
            "message": f"my {number * 'very '}old order" + "!" * (number % 7),
            "queue": queues[number % 3],
        }
        | changes
        for number in range(count)
    ]


def test_answer_texts_id_and_labels_are_guessed():
    assert guess(tickets()) == ManifestDraft(
        60, "queue", ("subject", "message"), "ticket_id", ("Billing", "Delivery", "Returns"), ()
    )


def test_a_column_without_a_usual_name_is_the_answer_if_it_has_the_fewest_values():
    rows = [{"what": f"a text of its own, number {n}", "kind": "ab"[n % 2]} for n in range(20)]
    assert (guess(rows).answer, guess(rows).prompt) == ("kind", ("what",))


def test_answers_that_are_texts_have_no_labels():
    rows = [{"question": f"how much is {n} and {n}?", "answer": f"it is {2 * n}"} for n in range(40)]
    assert guess(rows).labels == ()
    assert "grader: {type: ExactMatch}" in write_manifest(guess(rows), CHOICES)


def test_what_a_person_names_is_not_guessed():
    draft = guess(tickets(), "subject", ["message"])
    assert (draft.answer, draft.prompt) == ("subject", ("message",))


@pytest.mark.parametrize("arguments", [("Queue",), ("queue", ["text"])])
def test_a_column_that_is_none_is_told_with_those_that_are(arguments: Any):
    with pytest.raises(DataError, match="the columns are ticket_id, date, subject, message, queue"):
        guess(tickets(), *arguments)


def test_a_student_does_not_read_the_answer():
    with pytest.raises(DataError, match="column 'queue' is the answer"):
        guess(tickets(), "queue", ["message", "queue"])
    with pytest.raises(DataError, match="column 'queue' is the answer"):
        guess(tickets(), "", ["queue"])


def test_answers_that_are_too_long_for_labels_are_texts():
    rows = [{"text": f"a text of its own, number {n}", "label": "ab"[n % 2] * 254} for n in range(20)]
    assert guess(rows).labels == ()


@pytest.mark.parametrize(
    "columns", [["text2", "件名", "label"], ["件名", "text1", "本文", "label"], ["a b", "a-b", "a_b", "text3", "label"]]
)
def test_no_column_is_lost_whatever_the_others_are_called(columns: list[str]):
    rows = [dict.fromkeys(columns, f"a text of its own, number {n}") for n in range(20)]
    fields = spec_of(guess(rows, "label", columns[:-1]))["data"]["seed"]["fields"]
    assert sorted(fields.values()) == sorted(columns)


@pytest.mark.parametrize(
    ("typed", "columns"),
    [
        ("a, b", ["a", "b"]),
        ("one, two, b", ["one, two", "b"]),
        ("b,one, two", ["b", "one, two"]),
        (" c , b", [" c ", "b"]),
        ("b, none, a", ["b", "none", "a"]),
        ("", [""]),
    ],
)
def test_columns_that_a_person_typed_are_found_by_their_whole_names(typed: str, columns: list[str]):
    assert columns_named(typed, ["a", "b", "one, two", " c "]) == columns


@pytest.mark.parametrize("rows", [[], [{"text": "alone"}]])
def test_a_table_of_nothing_is_refused(rows: list[dict[str, str]]):
    with pytest.raises(DataError, match="needs rows and at least two columns"):
        guess(rows)


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        pytest.param(["Biling"], "1 row has the label 'Biling', which may be 'Billing'", id="a misspelling"),
        pytest.param(
            ["billing", "BILLING"], "'Billing' and 'billing' and 'BILLING' count as one label", id="another case"
        ),
        pytest.param(["Feedback"], "the label 'Feedback' has only 1 row", id="a rare one"),
    ],
)
def test_odd_labels_are_told(labels: list[str], note: str):
    rows = [*tickets(), *({**tickets(1)[0], "queue": label} for label in labels)]
    assert any(told.startswith(note) for told in guess(rows).notes)


def spec_of(draft: ManifestDraft) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(write_manifest(draft, CHOICES))["spec"]
    return spec


def test_the_manifest_is_valid_and_has_what_was_guessed():
    text = write_manifest(guess(tickets()), CHOICES)
    run = validate_run(yaml.safe_load(text))
    assert run.spec.data.seed.fields == {
        "subject": "subject", "message": "message", "completion": "queue", "id": "ticket_id"
    }  # fmt: skip
    assert run.spec.task.labels == ["Billing", "Delivery", "Returns"]
    prompt = task_of(run.spec.task)
    assert "subject: {{ subject }}\nmessage: {{ message }}\nqueue:" in text.replace("      ", "")
    assert prompt.choice
    assert all(line.count("#") for line in text.splitlines() if line.startswith("  #"))


def test_a_test_set_is_held_out_where_there_are_enough_rows():
    assert "test" not in spec_of(guess(tickets()))["data"]
    assert "test" in spec_of(guess(tickets(300)))["data"]


awkward = some.text(min_size=1, max_size=12).filter(lambda name: name.strip() == name and "\x00" not in name)


@settings(max_examples=60)
@given(
    some.lists(awkward, min_size=2, max_size=5, unique=True), some.lists(awkward, min_size=1, max_size=4, unique=True)
)
def test_whatever_columns_and_labels_are_called_the_manifest_is_valid(columns: list[str], labels: list[str]):
    rows = [
        {name: f"a text of some length, {number} {place}" for place, name in enumerate(columns)}
        | {columns[-1]: labels[number % len(labels)]}
        for number in range(24)
    ]
    draft = guess(rows, columns[-1], columns[:-1])
    document = yaml.safe_load(write_manifest(draft, CHOICES))
    run = validate_run(document)
    assert [run.spec.data.seed.fields["completion"]] == [columns[-1]]
    task_of(run.spec.task)

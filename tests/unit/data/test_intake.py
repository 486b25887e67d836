import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm.data.intake import read_rows
from llm2llm.errors import DataError
from llm2llm.records import Example, examples_from_jsonl, to_jsonl

MAPPING = {"prompt": "question", "completion": "answer"}
GOOD = b'{"question": "q", "answer": "a"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b'{"question": "q"', "invalid JSON", id="a cut line"),
        pytest.param(b'["q", "a"]', "not a JSON object", id="a list"),
        pytest.param(b'{"question": "q"}', "no field 'answer' (the fields are 'question')", id="a missing field"),
        pytest.param(
            b'{"question": "q", "b": 1, "c": 2, "d": 3, "e": 4, "f": 5}',
            "no field 'answer' (the fields are 'question', 'b', 'c', 'd', 'e', ...)",
            id="many others",
        ),
        pytest.param(
            b'{"question": ["q"], "answer": "a"}', "'question' is neither a string nor a number", id="a list for a text"
        ),
        pytest.param(
            b'{"question": null, "answer": "a"}', "'question' is neither a string nor a number", id="null for a text"
        ),
        pytest.param(b'{"question": "\xff", "answer": "a"}', "invalid UTF-8 at byte 14", id="latin-1"),
        pytest.param(b'{"question": "\\u0000", "answer": "a"}', "NUL", id="a NUL character"),
        pytest.param(b'{"question": "\\ud800", "answer": "a"}', "surrogate", id="half a surrogate pair"),
        pytest.param(b'{"question": "q", "answer": ' + b"[" * 200_000, "", id="JSON 200,000 levels deep"),
        pytest.param(
            b'{"question": "q", "answer": ' + b"9" * 5000 + b"}", "invalid JSON", id="a number of 5,000 digits"
        ),
        pytest.param(b"\0\0\0", "invalid JSON", id="binary"),
        pytest.param(b'{"question": "q", "answer": NaN}', "'answer' is nan: use a finite number", id="NaN"),
        pytest.param(b'{"question": Infinity, "answer": "a"}', "'question' is inf: use a finite number", id="Infinity"),
        pytest.param(b'{"question": -Infinity, "answer": "a"}', "'question' is -inf", id="minus Infinity"),
        pytest.param(b'{"question": "q", "answer": 1e999}', "'answer' is inf", id="a number beyond a double"),
        pytest.param(b'{"id": NaN, "question": "q", "answer": "a"}', "'id' is nan", id="NaN for an id"),
    ],
)
def test_faults_33_and_48_a_broken_line_is_refused_with_its_number(line: Any, reason: str) -> None:
    found = read_rows("s3://b/seed.jsonl", b"\n".join([GOOD, b"", line, GOOD]), MAPPING)

    assert [row.line for row in found.rows] == [1, 4]
    assert "s3://b/seed.jsonl has 1 broken row: line 3: " in found.problem("data.seed")
    assert reason in found.problem("data.seed")


@pytest.mark.parametrize(
    ("line", "fields", "completion"),
    [
        pytest.param(
            {"question": "x" * 1_000_000, "answer": "a"}, {"prompt": "x" * 1_000_000}, "a", id="a line of 1 MB"
        ),
        pytest.param({"question": "q", "answer": 3}, {"prompt": "q"}, "3", id="a number is its text"),
        pytest.param({"question": "q", "answer": 1.1}, {"prompt": "q"}, "1.1", id="a fraction is its shortest text"),
        pytest.param({"question": "q", "answer": "a", "score": float("nan")}, {"prompt": "q"}, "a", id="NaN, not used"),
        pytest.param({"question": "q", "answer": True}, {"prompt": "q"}, "true", id="a boolean is its JSON"),
        pytest.param(
            {"question": "a\r\n\u2028b", "answer": "c"}, {"prompt": "a\r\n\u2028b"}, "c", id="line separators"
        ),
        pytest.param({"question": "\x1b[2J", "answer": "{{ x }}"}, {"prompt": "\x1b[2J"}, "{{ x }}", id="codes"),
    ],
)
def test_fault_48_an_odd_row_is_taken_as_data(line: Any, fields: dict[str, str], completion: str) -> None:
    found = read_rows("file:///seed.jsonl", json.dumps(line).encode(), MAPPING)

    assert [(row.example.fields, row.example.completion) for row in found.rows] == [(fields, completion)]


def test_broken_rows_are_told_by_reason_with_the_first_of_their_lines() -> None:
    rows = read_rows("file:///seed.jsonl", GOOD + b"\n" + b"nonsense\n" * 37 + b'{"question": "q"}', MAPPING)
    told = rows.problem("data.seed")

    assert told.startswith(
        "data.seed file:///seed.jsonl has 38 broken rows: lines 2, 3, 4, 5, 6 and 32 more: invalid JSON"
    )
    assert told.endswith("; line 39: no field 'answer' (the fields are 'question')")


def test_ten_reasons_are_told_and_the_others_counted() -> None:
    rows = read_rows("file:///seed.jsonl", b"", MAPPING)
    rows.refuse({line: f"reason {line % 12}" for line in range(30)})
    told = rows.problem("data.seed")

    assert "lines 9, 21: reason 9" in told
    assert "reason 10" not in told
    assert told.endswith("; and 4 more")


def test_a_reason_is_told_with_what_to_do_about_it() -> None:
    rows = read_rows("file:///seed.jsonl", GOOD, MAPPING)
    reason = "the prompt has 800018 tokens, which leaves no room for an answer in the model's context of 131072: shorten the row, or use "
    rows.refuse({1: f"{reason}another model"})

    assert rows.problem("data.seed").endswith("use another model")


def test_windows_line_ends_and_a_byte_order_mark_are_no_problem() -> None:
    assert len(read_rows("file:///x", b"\xef\xbb\xbf" + GOOD + b"\r\n" + GOOD + b"\r\n", MAPPING).rows) == 2


def test_a_given_id_is_kept_and_a_second_one_refused() -> None:
    lines = [{"id": name, "question": "q", "answer": "a"} for name in ("x", "y", "x", 7)]
    found = read_rows("file:///x", "\n".join(map(json.dumps, lines)).encode(), MAPPING)

    assert [row.example.id for row in found.rows] == ["x", "y", "7"]
    assert "line 3: the id 'x' is already used in line 1" in found.problem("data.seed")


def test_a_row_without_id_gets_one_from_its_content() -> None:
    again = read_rows("file:///x", GOOD + b"\n" + GOOD, MAPPING)
    other = read_rows("file:///x", b'{"question": "q", "answer": "b"}', MAPPING)
    first, second = (row.example.id for row in again.rows)

    assert first == read_rows("file:///y", GOOD, MAPPING).rows[0].example.id
    assert second == f"{first}-2"
    assert other.rows[0].example.id != first


@given(st.binary(max_size=400))
def test_fault_48_no_bytes_make_it_crash(data: bytes) -> None:
    with contextlib.suppress(DataError):
        read_rows("file:///x", data, MAPPING)


def test_a_field_for_ids_that_no_row_has_is_told() -> None:
    rows = GOOD + b"\n" + GOOD
    with pytest.raises(DataError, match="s3://b/x: no row has a field 'uid': correct `id` in the fields of this file"):
        read_rows("s3://b/x", rows, MAPPING | {"id": "uid"})
    some = read_rows("s3://b/x", rows + b'\n{"uid": 7, "question": "r", "answer": "a"}', MAPPING | {"id": "uid"})
    assert some.rows[2].example.id == "7"
    assert len(some.rows) == 3


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_a_text_survives_reading_freezing_and_reading_again(text: str) -> None:
    line = json.dumps({"question": text, "answer": text}).encode()
    examples = [row.example for row in read_rows("file:///x", line, MAPPING).rows]

    assert examples == list(examples_from_jsonl(to_jsonl(examples)))
    assert isinstance(examples[0], Example)
    assert examples[0].fields == {"prompt": text}

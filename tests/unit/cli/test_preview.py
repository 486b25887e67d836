"""What `llm2llm preview` prints."""

from __future__ import annotations

from llm2llm.api.policy import Prices
from llm2llm.augment.filters import Verdict
from llm2llm.cli import preview
from llm2llm.records import Example, Usage
from llm2llm.stages.preview import PreviewedRow, Written

PRICES = Prices(currency="USD", input_per_million="1", output_per_million="10", gpu_hour="0")
USAGE = Usage(teacher_requests=1, teacher_input_tokens=100, teacher_output_tokens=20)


def a_row(verdict: Verdict | None, text: str = "{}") -> PreviewedRow:
    example = Example(id="seed-4", fields={"prompt": "x"}, completion="refund")
    written = None if verdict is None else Written(text, verdict, USAGE)
    return PreviewedRow(example, "Classify:\nx", 7, 2, [{"role": "user", "content": "Write one"}], written)


def test_a_kept_row_has_its_cost_and_the_last_line_that_of_each_kept_row():
    rows = [a_row(Verdict({"prompt": "y"}, "refund")), a_row(Verdict(None, "", "schema", "no JSON"))]
    lines = list(preview._lines(rows, PRICES))
    assert lines[0] == "--- seed-4: refund"
    assert "the student reads 7 tokens, and is to answer with 2:" in lines
    assert "    Classify:\n    x" in lines
    assert "the teacher writes (kept; 120 tokens, 0.000300):" in lines
    assert "the teacher writes (rejected, schema: no JSON; 120 tokens, 0.000300):" in lines
    assert lines[-1].startswith("kept 1 of 2 rows: 240 tokens, 0.000600, 240 tokens, 0.000600 for each kept row.")


def test_without_prices_there_are_tokens_alone():
    [*_, last] = preview._lines([a_row(Verdict({"prompt": "y"}, "refund"))], None)
    assert last.startswith("kept 1 of 1 rows: 120 tokens, 120 tokens for each kept row.")


def test_a_teacher_that_was_not_asked_is_said_to_be_so():
    [*_, last] = preview._lines([a_row(None)], PRICES)
    assert last.startswith("The teacher was not asked")


def test_what_the_teacher_wrote_does_not_steer_the_terminal():
    text = "\n".join(preview._lines([a_row(Verdict(None, "", "schema", "x\x1b[2J"), "a\x1b]0;title\x07b")], None))
    assert "\x1b" not in text
    assert "    ab" in text


def test_a_record_is_one_level_deep_and_has_the_whole_text():
    record = preview._record(a_row(Verdict({"prompt": "y"}, "refund"), "z" * 500))
    assert all(isinstance(value, str | int) for value in record.values())
    assert (record["verdict"], record["inputTokens"], record["teacher"]) == ("kept", 100, "z" * 500)
    assert "verdict" not in preview._record(a_row(None))

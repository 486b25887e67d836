"""Which rows belong to which set, and what is told of them."""

from __future__ import annotations

import pytest

from llm2llm.api.data import Task
from llm2llm.data.intake import SourceRow, SourceRows
from llm2llm.data.splits import contradictions, drop_known_rows
from llm2llm.records import Example
from llm2llm.tasks import task_of


def rows_of(*pairs: tuple[str, str]) -> SourceRows:
    """Rows of a prompt and its answer, from line 1 on."""
    return SourceRows(
        "file:///rows.jsonl",
        [
            SourceRow(n, Example(id=str(n), fields={"prompt": p}, completion=c))
            for n, (p, c) in enumerate(pairs, start=1)
        ],
    )


EXACT = task_of(Task.model_validate({"promptTemplate": "{{ prompt }}", "grader": {"type": "ExactMatch"}}))
GSM8K = task_of(Task.model_validate({"preset": "GSM8K"}))


def test_prompts_with_several_answers_are_told_by_their_lines() -> None:
    rows = rows_of(("a", "yes"), ("b", "no"), ("a", "no"), ("c", "no"), ("a", "maybe"), ("B", "yes"), ("c", "yes"))
    assert contradictions("seed", rows, EXACT) == (
        "data.seed has prompts with different answers, of which a student can give only one (lines 1, 3, 5; lines 4, 7)"
    )


def test_answers_that_the_grader_takes_for_the_same_are_no_contradiction() -> None:
    sums = rows_of(("1 + 1?", "1 and 1 is 2. #### 2"), ("1 + 1?", "It is two. #### 2.0"))
    assert contradictions("seed", sums, GSM8K) == ""


def test_of_many_prompts_the_first_are_told() -> None:
    rows = rows_of(*[(str(prompt), answer) for answer in ("yes", "no") for prompt in range(7)])
    told = contradictions("test", rows, EXACT)
    assert told.endswith("(lines 1, 8; lines 2, 9; lines 3, 10; lines 4, 11; lines 5, 12; and 2 more prompts)")


@pytest.mark.parametrize(
    ("held_out", "left", "told"),
    [
        pytest.param(["c", "d"], ["c", "d"], "", id="none of them known"),
        pytest.param(["A ", "c", "b"], ["c"], "2 test rows are also seed or evaluation rows and were dropped (lines 1, 3)",
                     id="known from either set, whatever the case and space"),
    ],
)  # fmt: skip
def test_held_out_rows_that_are_in_a_set_before_are_dropped(held_out: list[str], left: list[str], told: str) -> None:
    sets = {name: rows_of(*[(text, "yes") for text in texts]) for name, texts in (("seed", "a"), ("evaluation", "b"))}
    sets["test"] = rows_of(*[(text, "yes") for text in held_out])
    assert drop_known_rows("test", sets, EXACT) == told
    assert [row.example.fields["prompt"] for row in sets["test"].rows] == left


def test_a_row_in_another_unicode_form_is_the_same_row() -> None:
    composed, divided = "Wo liegt Z\u00fcrich?", "WO LIEGT  ZU\u0308RICH?"
    sets = {"seed": rows_of((composed, "a")), "evaluation": rows_of((divided, "a"), ("Wo liegt Bern?", "b"))}
    told = drop_known_rows("evaluation", sets, EXACT)
    assert told == "1 evaluation rows are also seed rows and were dropped (line 1)"
    rows = rows_of(("Z\u00fcrich", "yes"), ("Zu\u0308rich", "no"))
    assert "(lines 1, 2)" in contradictions("seed", rows, EXACT)

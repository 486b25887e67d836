"""What is refused of the rows, and the number that would do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import SourceRow, SourceRows
from llm2llm.errors import ConfigurationError
from llm2llm.models.tokenizer import StudentTokenizer
from llm2llm.records import Example
from llm2llm.stages.row_checks import StudentLimits, check_answers, refuse_invalid_rows, refuse_untokenizable_rows
from llm2llm.tasks import task_of

EOS = 0
LETTERS = StudentTokenizer(
    encode=lambda texts, _: [[ord(letter) for letter in text] for text in texts],
    decode=lambda ids: "".join(map(chr, ids)),
    eos=EOS,
)
"""A token is a letter."""


def spec(max_length: int = 100, max_tokens: int = 0) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(
        builders.spec(
            train={"hyperparameters": {"maxLength": max_length}}, evaluate={"sampling": {"maxTokens": max_tokens}}
        )
    )


def rows(*pairs: tuple[str, str]) -> SourceRows:
    examples = [
        Example(id=f"row-{line}", fields={"prompt": prompt}, completion=completion)
        for line, (prompt, completion) in enumerate(pairs, start=2)
    ]
    return SourceRows("s3://b/x.csv", [SourceRow(line, example) for line, example in enumerate(examples, start=2)])


def model(context: int = 0) -> StudentLimits:
    return StudentLimits("main", LETTERS, context, 0)


def test_rows_that_are_too_long_have_one_reason_with_the_number_that_would_do_for_all_sets():
    run = spec(max_length=12)
    sets = {"seed": rows(("a" * 8, "yes"), ("a" * 20, "yes")), "evaluation": rows(("a" * 30, "no"))}
    lengths: dict[str, dict[str, int]] = {}
    refuse_untokenizable_rows(sets, task_of(run.task), model(), run, lengths)
    reason = (
        "prompt and completion have more tokens than spec.train.hyperparameters.maxLength 12: the longest row needs 33"
    )
    assert (sets["seed"].broken, sets["evaluation"].broken) == ({3: reason}, {2: reason})
    assert lengths == {"seed": {"row-2": 12, "row-3": 24}, "evaluation": {"row-2": 33}}


def test_a_row_that_leaves_the_models_context_is_refused_with_its_own_numbers():
    run, sets = spec(), {"seed": rows(("a" * 8, "yes"))}
    refuse_untokenizable_rows(sets, task_of(run.task), model(context=10), run, {})
    assert "the prompt (8 tokens) and the completion (4) exceed the model's context of 10" in sets["seed"].broken[2]


def test_a_row_without_a_prompt_is_refused():
    found = rows(("  ", "yes"), ("a", "yes"))
    refuse_invalid_rows(found, task_of(spec().task))
    assert list(found.broken) == [2]


@pytest.mark.parametrize(("limit", "warnings"), [(0, 0), (3, 1), (4, 0)])
def test_answers_that_are_longer_than_the_student_may_answer_are_a_warning(limit: int, warnings: int):
    run, sets = spec(max_tokens=limit), {"seed": rows(("a", "yes"), ("a", "no"))}
    assert len(list(filter(None, check_answers(sets, task_of(run.task), model(), run)))) == warnings


def test_a_limit_that_no_answer_fits_into_is_refused():
    run, sets = spec(max_tokens=2), {"seed": rows(("a", "yes"), ("a", "no"))}
    with pytest.raises(ConfigurationError, match="maxTokens: 2 cuts every right answer off"):
        list(check_answers(sets, task_of(run.task), model(), run))


def test_a_limit_that_the_manifest_does_not_have_is_not_called_its():
    run, task = spec(), replace(task_of(spec().task), max_tokens=3)
    (warning,) = check_answers({"seed": rows(("a", "yes"), ("a", "no"))}, task, model(), run)
    assert warning.startswith("warning: the preset's limit of 3 tokens cuts 1 of 2 right answers off")
    with pytest.raises(ConfigurationError, match="the preset's limit of 3 tokens cuts every right answer off"):
        list(check_answers({"seed": rows(("a", "yes"))}, task, model(), run))
    assert "spec.evaluate.sampling.maxTokens 2 cuts" in next(
        check_answers({"seed": rows(("a", "yes"), ("a", "x"))}, task, model(), spec(max_tokens=2))
    )

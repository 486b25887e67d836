"""How a loaded student is asked; tests/integration/local/test_serve.py asks a trained one."""

from __future__ import annotations

import re

import pytest
from tests.support.lettermodel import letter_student

from llm2llm.engines import SamplingSettings
from llm2llm.serving.predictor import RequestRefused


def test_a_row_is_asked_by_the_run_s_template_and_judged_by_its_grader():
    prompt, answer, label = letter_student().predict({"text": "yes or no"})
    assert (prompt, answer.text, label) == ("yes or no =>", "YES", "YES")
    assert (answer.ended, answer.prompt_tokens, answer.completion_tokens) == (True, 13, 4)
    assert letter_student().predict({"text": "perhaps"})[2] is None


def test_an_answer_that_did_not_end_has_no_label():
    _, answer, label = letter_student(limit=3).predict({"text": "yes or no"})
    assert (answer.text, answer.ended, label) == ("YES", False, None)


def test_a_text_is_continued_as_it_is_and_a_conversation_by_the_chat_template():
    student = letter_student(chat=True)
    assert student.complete_text("a b", None, None).prompt_tokens == 4
    assert student.complete_conversation([{"role": "user", "content": "a b"}], None, None).prompt_tokens == 10
    assert student.predict({"text": "a b"})[1].prompt_tokens == 13


def test_an_answer_is_cut_where_the_context_ends():
    answer = letter_student(context=6).complete_text("abcd", None, None)
    assert (answer.text, answer.ended) == ("A", False)


def test_equal_seeds_sample_equal_answers():
    student = letter_student()
    first, again, other = (student.complete_text("abcdefgh", None, SamplingSettings(1.0, [n])).text for n in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "the prompt has 0 tokens"), ("a" * 101, "the prompt has 102 tokens, and the model's context is 100: send")],
)
def test_a_prompt_that_cannot_be_answered_is_refused(text: str, words: str):
    student = letter_student()
    with pytest.raises(RequestRefused, match=re.escape(words)):
        student.complete(student.tokens.encode([text], bool(text))[0])


@pytest.mark.parametrize(
    ("template", "words"), [("Auto", "its tokenizer has none"), ("Never", "chatTemplate is Never")]
)
def test_a_student_without_a_chat_template_does_not_chat(template: str, words: str):
    student = letter_student(chatTemplate=template)
    with pytest.raises(RequestRefused, match=rf"trained without a chat template \({words}\): POST a row to /predict"):
        student.complete_conversation([{"role": "user", "content": "a"}], None, None)

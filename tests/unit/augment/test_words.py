"""What a word is to the filters, in each script."""

from __future__ import annotations

import pytest

from llm2llm.augment.words import casefolded_words, field_text, normalize, rouge_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("It's 4.5 Dollars!", ["it", "s", "4", "5", "dollars"], id="as rouge_score splits"),
        pytest.param(
            "Naïve café: ½ price", ["na", "ve", "caf", "price"], id="accents divide words, as for rouge_score"
        ),
        pytest.param("éé", ["éé"], id="a text of nothing else is taken as it is"),
        pytest.param("小明有3个", ["小", "明", "有", "3", "个"], id="a Chinese character is a word"),
        pytest.param("日本語のA4", ["日", "本", "語", "の", "a4"], id="so is a Japanese one"),
        pytest.param("ที่นี่ดี", ["ที่", "นี่", "ดี"], id="a Thai one has its signs with it"),
        pytest.param("मैं घर हूँ ५", ["मैं", "घर", "हूँ", "५"], id="Hindi words keep their vowel signs"),
        pytest.param("عندي ٥ تفاحات", ["عندي", "٥", "تفاحات"], id="Arabic words and digits"),
        pytest.param("Купил 5 яблок A", ["купил", "5", "яблок", "a"], id="Russian beside Latin letters and digits"),
        pytest.param("한국어 3개", ["한국어", "3", "개"], id="Korean puts spaces"),
        pytest.param("?!", [], id="no words at all"),
    ],
)
def test_words(text: str, words: list[str]):
    assert rouge_words(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("Stra\u00dfe STRASSE", ["strasse", "strasse"], id="case is folded, not lowered"),
        pytest.param("caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"], id="one encoding of an accent"),
        pytest.param("\uff21\uff11 \u2460", ["a1", "1"], id="full-width and circled signs are the plain ones"),
        pytest.param("snake_case it's", ["snake_case", "it", "s"], id="an underscore joins, an apostrophe divides"),
        pytest.param("\u5c0f\u660eA4", ["\u5c0f", "\u660e", "a4"], id="a Chinese character is a word"),
        pytest.param(" \n!", [], id="no words at all"),
    ],
)
def test_the_words_that_are_compared_whatever_their_case_and_encoding(text: str, words: list[str]):
    assert casefolded_words(text) == words


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        pytest.param("What  IS\nit?", " what is it? ", True, id="case and space do not count"),
        pytest.param("\uff21 \u00df", "a SS", True, id="nor does the encoding of a letter"),
        pytest.param("what is it?", "what is it", False, id="punctuation does"),
        pytest.param("a b", "ab", False, id="so does whether there is space"),
    ],
)
def test_exact_copies(text: str, other: str, same: bool):
    assert (normalize(text) == normalize(other)) is same


def test_a_row_is_its_fields_by_name_and_never_their_names():
    assert field_text({"b": "two", "a": "one"}) == "one\ntwo"

"""Near duplicates get the verdicts of rouge_score, only faster."""

from __future__ import annotations

import os
import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from llm2llm.augment.dedup import SequenceIndex, rouge_l
from llm2llm.augment.words import rouge_words

WORDS = [f"w{number}" for number in range(12)]


def variant(words: list[str], rng: random.Random) -> list[str]:
    """The same words with a few changed, dropped or added."""
    changed = list(words)
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[place] = rng.choice(WORDS)
            case 1 if len(changed) > 1:
                del changed[place]
            case _:
                changed.insert(place, rng.choice(WORDS))
    return changed


def as_text(words: list[str], rng: random.Random) -> str:
    return "".join(word + rng.choice([" ", " ", ", ", "; ", "! ", "\n", " - "]) for word in words)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 0.95, 1.0])
def test_verdicts_are_those_of_rouge_score(threshold: float):
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rng = random.Random(threshold)
    verdicts = set()
    for _ in range(300):
        known = [rng.choice(WORDS) for _ in range(rng.choice((1, 3, 8, 19, 20, 40)))]
        asked = variant(known, rng)
        theirs = scorer.score(" ".join(known), " ".join(asked))["rougeL"].fmeasure
        index = SequenceIndex(threshold)
        index.add(known, "known")
        match = index.nearest(asked)
        ours = bool(match and match.score > threshold)
        assert ours == (theirs > threshold), (known, asked, theirs)
        if match:
            assert match.score == theirs
        verdicts.add(ours)
    assert verdicts == ({True, False} if threshold < 1 else {False})


FULL = os.environ.get("LLM2LLM_SWEEP") == "full"
ROWS = 2000 if FULL else 60
"""Rows that are known, and rows that are asked about: every pair is compared (`LLM2LLM_SWEEP=full`: four million)."""


@pytest.mark.timeout(7200 if FULL else 600)
def test_every_pair_of_many_rows_gets_the_verdict_of_rouge_score():
    """From text to verdict; asked rows are variants of known ones, so that many scores lie about the threshold."""
    rng = random.Random(0)
    written = ["Café", "e-mail", "3.5", "Don't", "AT&T", "x_1", "naïve", "$1,000", "U.S.", "ÉTÉ2", "50%", "l'été"]
    vocabulary = [*written, *(f"w{number}" for number in range(40 - len(written)))]
    known = [[rng.choice(vocabulary) for _ in range(rng.randrange(1, 45))] for _ in range(ROWS)]
    asked = [as_text(variant(rng.choice(known), rng), rng) for _ in range(ROWS)]
    texts = [as_text(row, rng) for row in known]
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    alone = []
    for text in texts:
        alone.append(SequenceIndex(0.95))
        alone[-1].add(rouge_words(text), "known")
    together = SequenceIndex(0.95)
    for number, text in enumerate(texts):
        together.add(rouge_words(text), str(number))
    duplicates = 0
    for text in asked:
        words = rouge_words(text)
        theirs = [scorer.score(other, text)["rougeL"].fmeasure > 0.95 for other in texts]
        ours = [bool((match := index.nearest(words)) and match.score > 0.95) for index in alone]
        assert ours == theirs
        match = together.nearest(words)
        assert bool(match and match.score > 0.95) == any(theirs)
        duplicates += any(theirs)
    assert 0.1 * ROWS < duplicates < 0.9 * ROWS


def test_the_nearest_of_many_is_found():
    rng = random.Random(0)
    index = SequenceIndex(0.5)
    rows = [[rng.choice(WORDS) for _ in range(rng.randrange(5, 15))] for _ in range(300)]
    for number, row in enumerate(rows):
        index.add(row, str(number))
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    for row in rows[:20]:
        asked = variant(row, rng)
        best = max(scorer.score(" ".join(other), " ".join(asked))["rougeL"].fmeasure for other in rows)
        match = index.nearest(asked)
        assert match
        assert match.score == best


@pytest.mark.parametrize(
    ("known", "asked", "near"),
    [
        pytest.param("小明有3个苹果吃了5个", "商店3号楼卖掉5辆车", False, id="Chinese rows that share digits alone"),
        pytest.param("لدي ٣ كتب و 5 أقلام", "سافر أحمد 5 أيام", False, id="Arabic rows that share a digit alone"),
        pytest.param("Лифт корпуса A", "Группа крови A", False, id="Russian rows that share a Latin letter alone"),
        pytest.param(
            "一二三四五六七八九十" * 3, "一二三四五六七八九十" * 3 + "。", True, id="Chinese: a full stop more"
        ),
        pytest.param("一二三四五六七八九十" * 3, "一二三四五六七八九百" * 3, False, id="Chinese: every tenth another"),
        pytest.param("ก ข ค ง จ ฉ ช ซ " * 5, "กขคงจฉชซ" * 5 + "ครับ", True, id="Thai: a polite word more"),
    ],
)
def test_near_duplicates_of_other_scripts(known: str, asked: str, near: bool):
    index = SequenceIndex(0.95)
    index.add(rouge_words(known), "known")
    match = index.nearest(rouge_words(asked))
    assert bool(match and match.score > 0.95) == near


def test_an_empty_row_is_like_nothing():
    index = SequenceIndex(0.5)
    index.add([], "empty")
    assert index.nearest([]) is None
    assert rouge_l(0, 0, 5) == 0.0

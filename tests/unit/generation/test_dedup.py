"""Near duplicates get the verdicts of rouge_score, only faster."""

from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from llm2llm.augment.dedup import SequenceIndex, rouge_l
from llm2llm.augment.tokens import rouge_words

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
    ("text", "words"),
    [
        pytest.param("It's 4.5 Dollars!", ["it", "s", "4", "5", "dollars"], id="as rouge_score splits"),
        pytest.param("猫は好き", ["猫は好き"], id="Unicode words where there is no [a-z0-9]"),
        pytest.param("?!", [], id="no words at all"),
    ],
)
def test_words(text: str, words: list[str]):
    assert rouge_words(text) == words


def test_an_empty_row_is_like_nothing():
    index = SequenceIndex(0.5)
    index.add([], "empty")
    assert index.nearest([]) is None
    assert rouge_l(0, 0, 5) == 0.0

"""The keyword task: a sentence of seven filler words and one keyword, whose class is the answer.

A task with little data that a student of 200,000 parameters can learn on one CPU core, and in which augmentation pays
where it should: sixteen classes have two keywords, which twelve seed sentences show in full; four have eighty, of which
twelve sentences show twelve at most. What the student has never seen, only the teacher can write.

Pure: words, sentences and draws; no torch, so that the teacher server starts at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

PAD, EOS, SEP = "<pad>", "<eos>", "<sep>"
WORDS_IN_SENTENCE = 8
SEEDS_PER_CLASS = 12
EVALUATIONS_PER_CLASS = 100
EVALUATION_SEED = 5
KEYWORDS_OF_CLASS = [2] * 16 + [80] * 4

FILLERS = [f"w{number:03d}" for number in range(200)]
LABELS = [f"label{number:02d}" for number in range(len(KEYWORDS_OF_CLASS))]


def _lexicon() -> list[list[str]]:
    keywords = iter(f"k{number:03d}" for number in range(sum(KEYWORDS_OF_CLASS)))
    return [[next(keywords) for _ in range(count)] for count in KEYWORDS_OF_CLASS]


LEXICON = _lexicon()
"""Keywords of each class, in the order of LABELS."""
VOCABULARY = [PAD, EOS, SEP, *FILLERS, *(word for words in LEXICON for word in words), *LABELS]
"""One token a word, in the order of the token ids: 575 words."""
CLASS_OF_KEYWORD = {word: number for number, words in enumerate(LEXICON) for word in words}


@dataclass(frozen=True)
class Sentence:
    """Eight words, and the number of the class that its one keyword belongs to."""

    words: tuple[str, ...]
    label: int

    @property
    def text(self) -> str:
        return " ".join(self.words)


def draw(label: int, rng: random.Random) -> Sentence:
    """A new sentence of this class: filler words, with one keyword of the class at a random place."""
    words = [rng.choice(FILLERS) for _ in range(WORDS_IN_SENTENCE - 1)]
    words.insert(rng.randrange(WORDS_IN_SENTENCE), rng.choice(LEXICON[label]))
    return Sentence(tuple(words), label)


def keyword(sentence: Sentence) -> str:
    """The one word of the sentence that is in the lexicon."""
    return next(word for word in sentence.words if word in CLASS_OF_KEYWORD)


def seed_set(seed: int) -> list[Sentence]:
    """The 240 examples that a user would have: twelve of each class."""
    rng = random.Random(1000 + seed)
    return [draw(label, rng) for label in range(len(LABELS)) for _ in range(SEEDS_PER_CLASS)]


def evaluation_set() -> list[Sentence]:
    """The 2,000 held-out sentences, the same for every seed; the teacher never writes one of them."""
    rng = random.Random(EVALUATION_SEED)
    return [draw(label, rng) for label in range(len(LABELS)) for _ in range(EVALUATIONS_PER_CLASS)]

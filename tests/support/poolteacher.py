"""A teacher that hands out rows that people wrote: of the class asked for, the unused one most like the row shown.

It speaks the OpenAI chat API over HTTP. Its rows are right by construction, so that what a run gains with it is an
upper bound for what a model as teacher can give; it is no language model and does not pretend to be one.

    python -m tests.support.poolteacher ROWS.jsonl --label COLUMN [--port P]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support.chatserver import ChatServer

SHOWN_ROW = re.compile(r"^(?:The small model got this one wrong|Write one like this):\n(\{.*\})$", re.MULTILINE)
RIGHT_ANSWER = re.compile(r'^Right answer: (".*")$', re.MULTILINE)
NOTHING_LEFT = "I have no more rows of this class."
LONG_SENTENCE = 4
"""Words added to a row's length before it divides the row's weight: a row of one word is no better match."""


@dataclass(frozen=True)
class PoolRow:
    """One row that the teacher may hand out."""

    text: str
    label: str


def read_pool(file: Path, label: str) -> list[PoolRow]:
    """Reads rows of one text column and one label column from JSON lines."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    (text,) = {name for row in rows for name in row} - {label}
    return [PoolRow(row[text], row[label]) for row in rows]


class Pool:
    """Gives each row away once, and the same row to the same request."""

    def __init__(self, rows: Sequence[PoolRow]) -> None:
        self._unused = dict(enumerate(rows))
        self._given: dict[str, str] = {}
        self._lock = threading.Lock()
        frequency = Counter(word for row in rows for word in _words(row.text))
        self._weights = {word: math.log(len(rows) / count) for word, count in frequency.items()}

    def answer(self, messages: Sequence[dict[str, str]]) -> str:
        """Returns the answer to a chat: a row as JSON, or a sentence if there is none."""
        request = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()
        with self._lock:
            if request not in self._given:
                self._given[request] = self._take(messages[-1]["content"])
            return self._given[request]

    def left(self) -> int:
        """Returns how many rows nobody was given yet."""
        return len(self._unused)

    def _take(self, question: str) -> str:
        shown, answers = SHOWN_ROW.findall(question), RIGHT_ANSWER.findall(question)
        if not shown or not answers:  # Prepare asks whether anybody is there
            return json.dumps({"prompt": "ok"})
        label = json.loads(answers[-1])
        row: dict[str, str] = json.loads(shown[-1])
        wanted = _words(" ".join(row.values()))
        candidates = [number for number, candidate in self._unused.items() if candidate.label == label]
        if not candidates:
            return NOTHING_LEFT
        nearest = max(candidates, key=partial(self._likeness, wanted))
        return json.dumps({min(row): self._unused.pop(nearest).text}, ensure_ascii=False)

    def _likeness(self, wanted: set[str], number: int) -> float:
        words = _words(self._unused[number].text)
        return sum(self._weights[word] for word in words & wanted) / (LONG_SENTENCE + len(words))


def serve(pool: Pool, *, port: int = 0) -> ChatServer:
    """Puts a pool behind HTTP on this machine, by default on a free port."""
    return ChatServer(lambda body: (200, pool.answer(body["messages"])), port=port)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def main(argv: Iterable[str]) -> None:
    parser = argparse.ArgumentParser(description="A teacher that hands out rows of a file.")
    parser.add_argument("rows", type=Path, help="JSON lines with a text and a label")
    parser.add_argument("--label", required=True, help="name of the column with the label")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    arguments = parser.parse_args(list(argv))
    teacher = serve(Pool(read_pool(arguments.rows, arguments.label)), port=arguments.port)
    print(json.dumps({"baseUrl": teacher.base_url}), flush=True)
    teacher.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Makes the tickets of this folder: `python examples/tickets/make.py [--out FILE] [--rows N] [--seed N] [--clean]`.

The file is as such exports are: in Windows-1252, separated by semicolons, with blanks around cells, labels in several
spellings, tickets that came twice, answers that contradict each other, and cells that are empty. The same seed gives
the same bytes. `--clean` writes rows without those faults, as JSON Lines in UTF-8.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from parts import CLOSINGS, CONTEXT, GREETINGS, PLACES, PRODUCTS, SITUATIONS, Situation

HERE = Path(__file__).resolve().parent
COLUMNS = ("ticket_id", "received", "channel", "subject", "text", "queue")
WEIGHTS = {"delivery": 30, "returns": 22, "billing": 20, "technical": 12, "account": 10, "other": 6}
"""Tickets of a hundred that belong to a queue."""
MISSPELLED = {"delivery": "delivry", "returns": "retuns", "billing": "biling", "technical": "techincal"}
FIRST_DAY = date(2025, 3, 3)
REPEATED, CONTRADICTING, UNANSWERED, WITHOUT_SUBJECT, WITHOUT_TEXT = 9, 4, 11, 14, 3
"""How many tickets have each fault."""
SHOUTED, PADDED, ODDLY_SPELLED = 40, 35, 12

Row = dict[str, str]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Generate support tickets.")
    parser.add_argument("--out", type=Path, default=HERE / "tickets.csv", help="file to write")
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clean", action="store_true", help="JSON Lines subject, text, and queue, without faults")
    arguments = parser.parse_args(argv)
    if arguments.clean:
        rows = tickets(arguments.rows, random.Random(arguments.seed))
        lines = [json.dumps({name: row[name] for name in ("subject", "text", "queue")}) for row in rows]
        arguments.out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    else:
        arguments.out.write_bytes(export(arguments.rows, arguments.seed))
    return 0


def export(count: int, seed: int) -> bytes:
    """Returns the file of so many tickets, with its faults."""
    rng = random.Random(seed)
    rows = tickets(count - REPEATED - CONTRADICTING, rng)
    spoil(rows, rng)
    rows += [dict(row) for row in rng.sample(rows, REPEATED)]
    rows += [
        contradicted(row, rng) for row in rng.sample([row for row in rows if row["queue"] in WEIGHTS], CONTRADICTING)
    ]
    rng.shuffle(rows)
    for number, row in enumerate(rows):
        row["ticket_id"] = f"T-{48211 + number}"
        row["received"] = (FIRST_DAY + timedelta(days=number // 9)).isoformat()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("cp1252")


def tickets(count: int, rng: random.Random) -> list[Row]:
    """Returns so many tickets, no text of which comes twice."""
    rows: dict[str, Row] = {}
    while len(rows) < count:
        [queue] = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        row = ticket(rng.choice([one for one in SITUATIONS if one.queue == queue]), rng)
        rows.setdefault(row["text"], row)
    return list(rows.values())


def ticket(situation: Situation, rng: random.Random, slips: float = 0.01) -> Row:
    """Returns a ticket about a situation; `slips` is the share of words with two letters swapped."""
    words = {
        "product": rng.choice(PRODUCTS),
        "order": f"LN-{rng.randrange(100_000, 999_999)}",
        "amount": f"€ {rng.randrange(9, 480)}.{rng.choice(('00', '50', '90', '95', '99'))}",
        "date": (FIRST_DAY - timedelta(days=rng.randrange(2, 40))).strftime(rng.choice(("%d %B", "%B %d", "%Y-%m-%d"))),
        "days": str(rng.randrange(3, 29)),
        "place": rng.choice(PLACES),
    }
    body = [
        rng.choice(situation.openings),
        *rng.sample(CONTEXT, rng.choice((0, 1, 1, 2))),
        rng.choice(situation.requests),
    ]
    if rng.random() < 0.3:  # many say what they want first
        body.insert(0, body.pop())
    paragraphs = [rng.choice(GREETINGS), " ".join(body), rng.choice(CLOSINGS)]
    text = rng.choice(("\n", " ", " ")).join(part for part in paragraphs if part).format(**words)
    return {
        "channel": rng.choice(("mail", "mail", "web form", "app")),
        "subject": rng.choice(situation.subjects).format(**words),
        "text": re.sub(r"\b[a-z]{4,}\b", lambda word: typed(word[0], rng, slips), text),
        "queue": situation.queue,
    }


def typed(word: str, rng: random.Random, slips: float) -> str:
    """Returns a word as somebody in a hurry types it: at times with two inner letters swapped."""
    if rng.random() >= slips:
        return word
    place = rng.randrange(1, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def spoil(rows: Sequence[Row], rng: random.Random) -> None:
    """Makes the faults of an export, each in rows of its own choice."""
    for row in rng.sample(rows, SHOUTED):
        row["queue"] = rng.choice((row["queue"].capitalize(), row["queue"].upper()))
    for row in rng.sample(rows, PADDED):
        row["queue"], row["subject"] = f"{row['queue']} ", f"  {row['subject']}"
    for row in rng.sample([row for row in rows if row["queue"] in MISSPELLED], ODDLY_SPELLED)[: len(MISSPELLED)]:
        row["queue"] = MISSPELLED[row["queue"]]
    for column, count in (("queue", UNANSWERED), ("subject", WITHOUT_SUBJECT), ("text", WITHOUT_TEXT)):
        for row in rng.sample(rows, count):
            row[column] = ""


def contradicted(row: Row, rng: random.Random) -> Row:
    """Returns the same ticket with the answer of a second person."""
    return {**row, "queue": rng.choice([queue for queue in WEIGHTS if queue != row["queue"]])}


if __name__ == "__main__":
    raise SystemExit(main())

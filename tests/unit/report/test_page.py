"""The page about a run."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from tests.support import builders

from llm2llm.records import Example, Lineage, Paired, Prediction, Stage, Usage
from llm2llm.report.history import SeedHistory
from llm2llm.report.page import IterationRow, Page, curve, render

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=\"alert('2')\"> {{ 7*7 }} & \u202etxet \ud800"
VOID = {"meta", "line", "circle", "polyline", "img", "br"}


def told(row: str, correct: bool, output: str = "an answer") -> Prediction:
    return Prediction(id=row, output=output, correct=correct, verdict="correct" if correct else "wrong")


class Checked(HTMLParser):
    """What a browser would see: elements, attributes and text; fails on tags that do not match."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page.decode())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(text: str, **changes: Any) -> Page:
    """A page on which everything that others write is `text`."""
    example = Example(id=text, fields={text: text}, completion=text, lineage=Lineage(seed=text, parent=text))
    paired = Paired(against=0, dataset="evaluation", examples=100, gained=9, lost=4)
    usage = Usage(teacher_requests=30, teacher_input_tokens=1000, teacher_output_tokens=234)
    row = IterationRow(
        name="1",
        train=builders.report(Stage.TRAIN, 1),
        evaluate=builders.report(Stage.EVALUATE, 1, paired=paired),
        generate=builders.report(Stage.GENERATE, 1, usage=usage),
        judged=builders.accuracy(0.7),
        learned=11,
        forgotten=7,
        best=True,
        rejected={text: 3},
        samples=[example],
    )
    first = IterationRow(name="0", train=builders.report(Stage.TRAIN), judged=builders.accuracy(0.5))
    suspect = SeedHistory(example, [(n, told(text, False, text)) for n in range(3)])
    return Page(run=text, uri=text, rows=[first, row], test=[builders.accuracy(0.69, "test")], suspects=[suspect])


def test_a_page_of_hostile_rows_has_the_elements_of_one_of_harmless_rows() -> None:
    hostile, harmless = Checked(render(page(HOSTILE))), Checked(render(page("harmless")))

    assert hostile.tags == harmless.tags
    assert hostile.attributes == harmless.attributes
    assert "script" not in hostile.tags
    assert sum("alert(1)" in text for text in hostile.text) == sum("harmless" in text for text in harmless.text) > 10
    assert any("{{ 7*7 }}" in text for text in hostile.text)


def test_a_page_fetches_nothing_and_forbids_what_it_does_not_need() -> None:
    checked = Checked(render(page("x")))

    assert not {"link", "script", "img", "iframe", "object", "a", "form"} & set(checked.tags)
    assert not {"src", "href", "style", "onload"} & {name for name, _ in checked.attributes}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in checked.attributes
    assert "@import" not in render(page("x")).decode()
    assert "url(" not in render(page("x")).decode()


def test_a_page_tells_the_numbers() -> None:
    text = " ".join(" ".join(Checked(render(page("x"))).text).split())

    for words in (
        "1 (best)", "accuracy 0.700 [0.650, 0.750]", "100 evaluation rows", "9 / 4 against 0", "28 / 30",
        "30 requests, 1234 tokens", "accuracy 0.690 [0.640, 0.740] on 100 rows", "11 7",
    ):  # fmt: skip
        assert words in text


def test_a_long_text_is_cut() -> None:
    assert len(render(page("y" * 100_000))) < 40_000


def test_the_curve_is_drawn_on_the_whole_scale() -> None:
    first, last = curve(page("x").rows)

    assert (first.x, last.x) == (40, 600)
    assert (first.y, last.y) == (120, 88)
    assert last.high < last.y < last.low
    assert curve([]) == []

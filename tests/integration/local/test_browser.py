"""The report in a real browser: what its script shows, and what it lets nobody do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster import binaries
from tests.support import browser, reports

from llm2llm.records import Example
from llm2llm.report.page import render

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=http://192.0.2.1/x onerror=\"document.title='taken'\">"
)
PROGRAM = browser.chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium or Chrome: apt-get install chromium")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Tab]:
    with browser.browse(str(PROGRAM), tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with 300 rows in each set, of which the last iteration got the first wrong."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_bytes(render(reports.contents(rows=300)))
    return path


COUNT = "document.querySelector('#{} .count').textContent"
SHOWN = "[...document.querySelectorAll('#{} tbody tr')].map((row) => row.id)"


def choose(tab: browser.Tab, section: str, name: str, value: str) -> None:
    """Sets a filter as a person would."""
    tab.value(f"""(() => {{
        const label = [...document.querySelectorAll('#{section} .filters label')].find((each) => each.firstChild.textContent === '{name}');
        const control = label.querySelector('input, select');
        control.value = '{value}';
        control.dispatchEvent(new Event(control.tagName === 'INPUT' ? 'input' : 'change'));
    }})()""")


def test_the_page_begins_with_the_mistakes_and_loads_nothing_but_itself(tab: browser.Tab, page: Path):
    tab.open(page)

    assert tab.value(COUNT.format("answers")) == "300 of 600 rows, the first 50 shown"
    assert tab.value(COUNT.format("teacher")) == "4 of 4 rows"
    assert tab.value("document.querySelectorAll('figure svg').length") == 7
    assert tab.value("document.querySelectorAll('.matrix td').length") == 12
    assert tab.requests == [page.as_uri()]
    assert tab.errors == []


def test_rows_are_found_by_words_and_filters(tab: browser.Tab, page: Path):
    tab.open(page)
    choose(tab, "answers", "verdict", "")
    assert tab.value(COUNT.format("answers")).startswith("600 of 600")
    choose(tab, "answers", "search", "words299")
    assert tab.value(SHOWN.format("answers")) == ["seed-words299", "evaluation-ewords299"]
    choose(tab, "answers", "set", "seed")
    assert tab.value(SHOWN.format("answers")) == ["seed-words299"]
    choose(tab, "answers", "search", "")
    choose(tab, "answers", "iteration", "1")
    choose(tab, "answers", "verdict", "wrong")
    assert tab.value(SHOWN.format("answers")) == ["seed-words0"]
    choose(tab, "answers", "class", "no")
    assert tab.value(SHOWN.format("answers")) == []


def test_more_rows_are_shown_when_asked_for(tab: browser.Tab, page: Path):
    tab.open(page)
    tab.value(
        "[...document.querySelectorAll('#answers button')].find((each) => each.textContent === 'Show more').click()"
    )
    assert len(tab.value(SHOWN.format("answers"))) == 100


def test_a_link_leads_to_its_row_though_that_is_neither_a_mistake_nor_among_the_first(tab: browser.Tab, page: Path):
    tab.open(page, "#evaluation-ewords299")
    assert tab.value("document.querySelector('tr.here').id") == "evaluation-ewords299"
    top = tab.value("document.querySelector('tr.here').getBoundingClientRect().top")
    assert 0 <= top < 900


@pytest.mark.parametrize("fragment", ["#%", "#%zz", "#no-row", "#%ff"])
def test_a_link_to_nothing_shows_the_page(tab: browser.Tab, page: Path, fragment: str):
    tab.open(page, fragment)
    assert tab.errors == []
    tab.press("j")
    assert tab.value("document.querySelectorAll('tr.here').length") == 1


def test_a_row_whose_name_has_half_of_a_character_has_a_link(tab: browser.Tab, tmp_path: Path):
    path = tmp_path / "index.html"
    path.write_bytes(render(reports.contents("\ud800")))
    tab.open(path, "#seed-%EF%BF%BD0")
    assert tab.value("document.querySelector('tr.here').id") == "seed-\ufffd0"
    assert tab.errors == []


def test_a_seed_row_shows_what_the_teacher_wrote_for_it(tab: browser.Tab, page: Path):
    tab.open(page, "#seed-words0")
    assert tab.value("document.querySelector('tr.here summary').textContent") == "4 rows by the teacher for it"


def test_keys_search_and_go_from_row_to_row(tab: browser.Tab, page: Path):
    tab.open(page)
    for key in "jjk":
        tab.press(key)
    first, *_ = tab.value(SHOWN.format("answers"))
    assert tab.value("document.querySelector('tr.here').id") == first
    tab.press("/")
    assert tab.value("document.activeElement.getAttribute('aria-label')") == "Search"


def test_what_is_found_is_copied_as_jsonl(tab: browser.Tab, page: Path):
    tab.open(page)
    choose(tab, "answers", "search", "ewords0")
    tab.value("window.copied = []; navigator.clipboard.writeText = async (text) => window.copied.push(text)")
    tab.value(
        "[...document.querySelectorAll('#answers button')].find((each) => each.textContent === 'Copy as JSONL').click()"
    )
    [text] = tab.value("new Promise((done) => setTimeout(() => done(window.copied), 50))")
    assert text.startswith('{"set":"evaluation","row":1,"id":"ewords0"')
    assert text.count("\n") == 1


def test_hostile_rows_are_text_and_a_megabyte_is_cut(tab: browser.Tab, tmp_path: Path):
    contents = reports.contents(HOSTILE)
    longest = Example(id="long", fields={"prompt": "y" * 1_000_000}, completion="yes")
    path = tmp_path / "index.html"
    path.write_bytes(render(replace(contents, held_out=[*contents.held_out, longest])))
    tab.open(path)

    assert "taken" not in tab.value("document.title").partition("LLM2LLM")[0].split("<")[0]
    assert tab.value("document.querySelectorAll('img').length") == 0
    assert HOSTILE in tab.value("document.querySelector('#answers tbody tr').textContent")
    assert tab.requests == [path.as_uri()]
    assert tab.errors == []
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_fault_and_nothing_is_wider_than_the_screen(tab: browser.Tab, page: Path, width: int, dark: bool):
    tab.open(page, width=width, dark=dark)
    assert tab.value("document.documentElement.scrollWidth") <= width
    tab.value(binaries.axe().read_text())
    found = tab.value(
        "axe.run().then((result) => result.violations.map((each) => [each.id, each.impact, each.nodes.length, each.nodes[0].html]))"
    )
    assert found == []

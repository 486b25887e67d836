"""Links in the pages lead somewhere, paths that they name exist, and a rule that the code cites has an anchor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
ROOTS = ("benchmarks/", "charts/", "constraints/", "crds/", "docs/", "examples/", "images/", "operator/", "tests/")
PAGES = [*CHECKOUT.glob("*.md"), *(page for root in ROOTS for page in (CHECKOUT / root).rglob("*.md"))]
MODULES = [str(file) for root in ROOTS for file in (CHECKOUT / root).rglob("*.py")]
NAMES = [page.relative_to(CHECKOUT).as_posix() for page in PAGES]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Ids of a page: its own `<a id>`, and those that GitHub makes of headings."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = (
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    )
    return {*re.findall(r'<a id="([^"]+)"></a>', text), *headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str):
    page = CHECKOUT / name
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_paths_exist(name: str):
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    named = {path for path in re.findall(r"`([\w./-]+)`", text) if path.startswith(ROOTS)}
    assert {path for path in named if not (CHECKOUT / path).exists()} == set()


def test_a_rule_that_the_code_cites_has_an_anchor():
    cited: set[str] = set()
    for file in (
        file for root in ("operator", "images", "tests", "benchmarks") for file in (CHECKOUT / root).rglob("*.py")
    ):
        for rules in re.findall(r"\brules? ((?:[CD]\d+(?:, | and )?)+)", file.read_text(encoding="utf-8")):
            cited |= set(re.findall(r"[CD]\d+", rules))
    assert cited
    assert {rule for rule in cited if rule.lower() not in anchors(CHECKOUT / "docs" / "architecture.md")} == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md" and "/decisions/" not in name])
def test_modules_that_are_named_in_short_exist(name: str):
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    named = {path for path in re.findall(r"`([\w/]+\.py)`", text) if not path.startswith(ROOTS)}
    assert {path for path in named if not any(file.endswith(f"/{path}") for file in MODULES)} == set()

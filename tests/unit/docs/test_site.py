"""The site has every page of docs/ in its navigation, once; `make docs` checks its links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from tests.support.corpus import EXAMPLES

CHECKOUT = EXAMPLES.parent


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without MkDocs, whose Python objects are left out."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def pages(entry: Any) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for part in entry:
                yield from pages(part)
        case dict():
            for part in entry.values():
                yield from pages(part)


def test_every_page_is_in_the_navigation_once():
    site = yaml.load((CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    named = sorted(pages(site["nav"]))
    docs = CHECKOUT / "docs"
    assert named == sorted(["index.md", *(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))])

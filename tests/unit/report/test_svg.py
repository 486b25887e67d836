"""SVG of matplotlib's in a page without inline styles."""

from __future__ import annotations

from llm2llm.report.svg import for_page

FILE = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt" viewBox="0 0 10 5">
 <metadata><x/></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style><path id="m1" d="M 0 0" style="stroke: #a1a1a1; stroke-width: 2"/></defs>
 <g clip-path="url(#p1)"><use xlink:href="#m1" x="1" style="fill: none"/></g>
 <text style="font: 8.5px 'A Font', sans-serif; text-anchor: middle">a &lt; b</text>
 <clipPath id="p1"/>
</svg>"""


def test_styles_become_attributes_colors_variables_and_ids_unique():
    svg = for_page(FILE, "loss", "The loss", {"#a1a1a1": "var(--s1)"})

    assert "style" not in svg
    assert "metadata" not in svg
    assert 'stroke="var(--s1)" stroke-width="2"' in svg
    assert 'id="loss-m1"' in svg
    assert 'href="#loss-m1"' in svg
    assert 'clip-path="url(#loss-p1)"' in svg
    assert 'font-size="8.5" text-anchor="middle">a &lt; b<' in svg
    assert svg.startswith("<svg ")
    assert 'aria-label="The loss"' in svg
    assert 'width="10pt"' not in svg

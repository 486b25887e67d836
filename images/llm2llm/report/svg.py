"""PURE: turns an SVG file of matplotlib's into an element of a page whose security policy allows no inline styles.

Styles become presentation attributes, which the policy does not restrict, and placeholder colors become the page's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT_SIZE = "9"


def for_page(svg: str, name: str, title: str, colors: Mapping[str, str]) -> str:
    """Returns the element, without metadata, and with ids that begin with the plot's name.

    Args:
        svg: the file; its text is escaped already.
        name: unique in the page.
        title: for those who cannot see it.
        colors: color in the file to color in the page.
    """
    ET.register_namespace("", _SVG[1:-1])
    ET.register_namespace("xlink", _HREF[1 : _HREF.index("}")])
    root = ET.fromstring(svg)  # noqa: S314 - matplotlib's own
    _remove_foreign(root)
    for element in root.iter():
        _use_presentation(element, colors)
        _name_ids(element, name)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", title)
    return ET.tostring(root, encoding="unicode")


def _remove_foreign(root: ET.Element) -> None:
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)


def _use_presentation(element: ET.Element, colors: Mapping[str, str]) -> None:
    """Sets the declarations of the style as attributes; the shorthand `font` has none, so its size alone is kept."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            size = re.search(r"([0-9.]+)px", value)
            element.set("font-size", size[1] if size else _FONT_SIZE)
        elif name:
            element.set(name, colors.get(value, value))


def _name_ids(element: ET.Element, name: str) -> None:
    if identity := element.get("id"):
        element.set("id", f"{name}-{identity}")
    for attribute in (_HREF, "clip-path"):
        if value := element.get(attribute):
            element.set(attribute, value.replace("#", f"#{name}-"))

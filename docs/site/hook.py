"""Hook of MkDocs: the README as the first page, and links to files outside docs/ as links into the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

LINK = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")
"""A link to a file: the part before its path, the path, and its anchor with the closing parenthesis."""


def on_files(files: Any, *, config: Any) -> Any:
    """Adds README.md as index.md, its links as seen from docs/."""
    readme = (Path(config.config_file_path).parent / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_moved(readme)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Rewrites a page's links to what is not below docs/, and to its folders, which are no pages."""
    root = Path(config.config_file_path).parent
    folder = posixpath.dirname(page.file.src_uri)

    def rewrite(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if path.startswith("docs/") and files.get_file_from_path(path.removeprefix("docs/")):
            return link[0]
        if path == "README.md":
            return f"{link[1]}{posixpath.relpath('index.md', folder or '.')}{link[3]}"
        if not (root / path).exists():
            return link[0]  # the build fails at it, as it should
        kind = "tree" if (root / path).is_dir() else "blob"
        return f"{link[1]}{config.repo_url.rstrip('/')}/{kind}/main/{path}{link[3]}"

    return LINK.sub(rewrite, markdown)


def _moved(readme: str) -> str:
    """Returns the README with its links as seen from docs/."""
    return LINK.sub(lambda link: f"{link[1]}{posixpath.relpath(link[2], 'docs')}{link[3]}", readme)

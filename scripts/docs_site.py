"""A hook of mkdocs: the README and the pages beside it become pages of the site, and links between them and docs/ hold.

On GitHub a page of docs/ links to ``../CONTRIBUTING.md``, and the README to ``docs/suites.md``; on the site all lie in
one folder. A link to a file that is no page (a suite, the licence) becomes its name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md", "SECURITY.md": "security.md",
}  # fmt: skip


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001  mkdocs names them
    below = "" if page.file.src_uri in PAGES.values() else "docs"
    known = {file.src_uri for file in files}
    return re.sub(r"\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)", lambda link: _moved(link, below, known), markdown)


def _moved(link: re.Match[str], below: str, known: set[str]) -> str:
    text, target, anchor = link[1], posixpath.normpath(posixpath.join(below, link[2])), link[3] or ""
    if target == "docs/README.md":
        return f"[{text}](architecture.md)"
    place = PAGES.get(target, target.removeprefix("docs/"))
    return f"[{text}]({place}{anchor})" if place in known else text

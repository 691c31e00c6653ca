"""What the release workflow asks before it publishes: is this tag the version here, and is this the place of phibench?

python scripts/release.py check v1.2.3 owner/phibench
python scripts/release.py notes v1.2.3
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def version() -> str:
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "phibench" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    return found[1] if found else ""


def objections(tag: str, repository: str) -> list[str]:
    """What speaks against publishing this tag of this repository."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    found = []
    if tag != f"v{version()}":
        found.append(f"the tag is {tag}, the version in phibench/__init__.py is {version()}")
    if not notes(tag):
        found.append(f"CHANGELOG.md has no section [{tag.removeprefix('v')}]")
    if urls["Homepage"] != f"https://github.com/{repository}":
        found.append(f"[project.urls] in pyproject.toml names {urls['Homepage']}, this is {repository}")
    return found


def notes(tag: str) -> str:
    """The section of the changelog, without its heading."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        if heading.startswith(f"[{tag.removeprefix('v')}]"):
            return body.strip()
    return ""


def main() -> int:
    what, tag = sys.argv[1:3]
    if what == "notes":
        print(notes(tag))
        return 0
    found = objections(tag, sys.argv[3])
    for line in found:
        print(f"not released: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""docs/rules.md is what the rules and the goals say now."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_page_of_the_rules_is_up_to_date() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import rules_page
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == rules_page.page(), (
        "python benchmarks/rules_page.py > docs/rules.md"
    )

"""CONTRIBUTING's "What one more thing costs": what a row names is added to a copy of the package, and is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_more import CHECKOUT, Copy

pytestmark = pytest.mark.usefixtures("probed")
LAPTOP = str(CHECKOUT / "docs" / "machines" / "laptop.toml")

SUITE = """
name = "glance"
question = "How fast is the first glance?"
metrics = ["prefill_tps", "decode_tps"]
prompt_tokens = [16]
new_tokens = [4]
repetitions = 2
"""


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


def test_a_suite_is_one_file(copy: Copy) -> None:
    assert "unknown suite 'glance'" in copy.phibench("run", "glance", "-b", "null", code=2).err
    copy.add("suites/glance.toml", SUITE)
    assert "null" in copy.phibench("run", "glance", "-b", "null", "--dry-run").out
    rows = copy.phibench("run", "glance", "-b", "null", "-o", "json").json()
    assert [(row["suite"], row["test"], row["status"]) for row in rows] == [
        ("glance", "pp16", "ok"),
        ("glance", "tg4", "ok"),
    ]
    assert "glance, latency" in copy.phibench("run", "glans", "-b", "null", code=2).err

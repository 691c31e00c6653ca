"""The proof of bad conditions: what it counts as held, and that its programs end."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "proofs" / "busy.py"


@pytest.fixture(scope="module")
def busy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("proof_busy", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["proof_busy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("before", "seen", "most", "after", "held"),
    [
        (57, 30, 60, 57, True),
        (57, 30, 50, 57, False),  # it can be more than is said
        (40, 50, 60, 40, False),  # more than there is
        (57, 30, 50, 34, True),  # the machine wandered between
        (41, 41, 41, 42, True),
    ],
)
def test_what_holds(busy: ModuleType, before: float, seen: float, most: float, after: float, held: bool) -> None:
    assert busy.holds(before, (seen, most), after) is held


def test_its_programs_end_with_it_however_it_ends(busy: ModuleType) -> None:
    running: list[psutil.Process] = []

    def interrupted() -> None:
        with busy.hogs(0.1):
            running.extend(p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert running
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in running)

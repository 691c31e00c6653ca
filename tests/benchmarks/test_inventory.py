"""The made-up list of machines of an office: the same for a seed, and mostly understood."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from phibench.machine import list_file, listed


@pytest.fixture
def inventory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    made: Callable[..., str] = importlib.import_module("inventory").inventory
    return made


def test_a_seed_is_a_list(inventory: Callable[..., str]) -> None:
    assert inventory(50, 3) == inventory(50, 3) != inventory(50, 4)
    assert len(list_file.rows(inventory(50, 3).encode(), "list")) == 50


def test_most_of_an_office_is_understood(inventory: Callable[..., str]) -> None:
    rows = [listed.understood(row) for row in list_file.rows(inventory(1000).encode(), "list")]
    known = Counter(one.described is not None for one in rows)
    assert known[True] > 900
    assert known[False] > 10, "old machines that no table has"

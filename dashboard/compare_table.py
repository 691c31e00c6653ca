"""What can be compared, and a comparison as a DataFrame. No Streamlit here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from phibench.compare.selection import Selection
from phibench.core.nouns import Measured, Run
from phibench.core.text import number
from phibench.core.units import gib

VERDICTS = {"better": "better", "worse": "worse", "same": "no difference seen", "unknown": "no verdict"}


def _by_run(runs: Sequence[Run]) -> dict[str, Selection]:
    """Newest first, each with its suite and how many setups it has."""
    return {_name(run): Selection(text=run.id, runs=(run,)) for run in reversed(runs) if _setups(run)}


def _name(run: Run) -> str:
    setups = list(_setups(run))
    what = setups[0] if len(setups) == 1 else f"{len(setups)} setups"
    marks = [f"from {run.imported}"] if run.imported else []
    marks += ["short"] if run.suite.short else []
    marks += ["example"] if run.example else []
    return ", ".join((f"{run.id} {run.suite.name}", what, *marks))


def _setups(run: Run) -> dict[str, Measured]:
    return {str(r.setup): r for r in run.results if isinstance(r, Measured)}


def _by_setup(runs: Sequence[Run]) -> dict[str, Selection]:
    """Of all runs, the setups that were measured last first."""
    newest = {name: result.setup for run in reversed(runs) for name, result in _setups(run).items()}
    return {name: Selection(text=name, runs=tuple(runs), setup=setup) for name, setup in newest.items()}


def _by_machine(runs: Sequence[Run]) -> dict[str, Selection]:
    machines = dict.fromkeys(run.machine.slug for run in reversed(runs))
    return {slug: Selection(text=slug, runs=tuple(r for r in runs if r.machine.slug == slug)) for slug in machines}


KINDS: Mapping[str, Callable[[Sequence[Run]], dict[str, Selection]]] = {
    "Runs": _by_run,
    "Setups": _by_setup,
    "Machines": _by_machine,
}


def frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One line per figure: A and B as texts, the change in percent, the verdict in a word and in words."""
    return pd.DataFrame([_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    say = gib if row["unit"] == "B" else number
    figure = row["title"] if row["unit"] == "B" else f"{row['title']}, {row['unit']}"
    whose = [row[key] for key in ("setup", "test") if row[key]]
    return {
        "verdict": VERDICTS[row["verdict"]],
        "setup": row["setup"],
        "test": row["test"],
        "suite": row["suite"],
        "figure": figure,
        "a": say(row["a"]),
        "b": say(row["b"]),
        "says": row["says"],
        "pairs": row["pairs"],
        "label": ", ".join((row["title"], *whose)),
        "change": 100 * row["change"],
        "low": None if row["change_low"] is None else 100 * row["change_low"],
        "high": None if row["change_high"] is None else 100 * row["change_high"],
    }

"""What the pages read: the results folder, the machine and the advice, each computed once until it changes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
import result_lines
import results_table
import streamlit as st

from phibench.compare.comparison import Comparison
from phibench.compare.selection import Selection
from phibench.core import folders, run_files
from phibench.core.nouns import Goal, Machine, Run, Verdict

Stamp = tuple[tuple[str, int, int], ...]


def folder() -> Path:
    """``--results DIR`` of the command line, else as every command of phibench finds it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results")
    return folders.results_dir(parser.parse_known_args(sys.argv[1:])[0].results)


def runs() -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """All runs, oldest first, and a line for each file that was skipped."""
    return _runs(str(folder()), _stamp(folder()))


def results() -> pd.DataFrame:
    """One line per test of every run, with the columns that people read."""
    return _results(str(folder()), _stamp(folder()))


def over_time(file: str, setup: str, test: str, layers: str | None) -> pd.DataFrame:
    """Speed over time of one line of :func:`results`, by its columns ``file``, ``setup``, ``test`` and ``slice``."""
    return _over_time(str(folder()), _stamp(folder()), file, setup, test, layers)


def run_of(file: str) -> Run:
    """The run that lines of :func:`results` are from, by their column ``file``."""
    return next(run for run in runs()[0] if results_table.file(run) == file)


def comparison(a: Selection, b: Selection) -> Comparison:
    """Raises PhibenchError when the two have no figure in common."""
    return _comparison(str(folder()), _stamp(folder()), a.text, b.text, a, b)


def _stamp(where: Path) -> Stamp:
    """Changes when a file comes, goes or is written."""
    found = []
    for path in sorted(where.rglob("*.json")) if where.is_dir() else []:
        try:
            facts = path.stat()
        except OSError:  # gone since it was listed
            continue
        found.append((str(path), facts.st_mtime_ns, facts.st_size))
    return tuple(found)


@st.cache_resource(max_entries=1, show_spinner="Reading results")  # runs are frozen: no copies needed
def _runs(where: str, stamp: Stamp) -> tuple[tuple[Run, ...], tuple[str, ...]]:  # noqa: ARG001  the cache's key
    return run_files.read_runs(Path(where))


@st.cache_data(max_entries=1, show_spinner="Reading results")
def _results(where: str, stamp: Stamp) -> pd.DataFrame:
    return results_table.shown(results_table.frame(_runs(where, stamp)[0]))


@st.cache_data(max_entries=50, show_spinner=False)
def _over_time(where: str, stamp: Stamp, file: str, setup: str, test: str, layers: str | None) -> pd.DataFrame:
    run = next(run for run in _runs(where, stamp)[0] if results_table.file(run) == file)
    return result_lines.over_time(run, setup, test, layers)


@st.cache_resource(max_entries=20, show_spinner="Pairing launches")
def _comparison(where: str, stamp: Stamp, first: str, second: str, _a: Selection, _b: Selection) -> Comparison:  # noqa: ARG001
    from phibench.compare import comparison as comparing

    return comparing.compare(_a, _b)


@st.cache_resource(ttl=60, show_spinner="Looking at this machine")  # free memory changes
def machine() -> Machine:
    from phibench.machine import inventory

    return inventory.this_machine(bandwidth=False)


def advice(goal: Goal, context: int, min_tps: float | None, max_ttft: float | None) -> tuple[Verdict, ...]:
    """Verdicts for this machine, best first. Raises PhibenchError when the goal does not fit into the context."""
    return _advice(machine(), goal, str(folder()), _stamp(folder()), context, min_tps, max_ttft)


@st.cache_resource(max_entries=20, show_spinner="Weighing every setup", hash_funcs={Machine: repr, Goal: repr})
def _advice(
    machine: Machine,
    goal: Goal,
    where: str,
    stamp: Stamp,
    context: int,
    min_tps: float | None,
    max_ttft: float | None,
) -> tuple[Verdict, ...]:
    from phibench.advise import recommend

    runs = _runs(where, stamp)[0]
    return recommend.advise(machine, goal, runs, context=context, min_tps=min_tps, max_ttft=max_ttft)

"""What a side of a comparison means: a run, a machine, the version of a package, or a setup -> the runs to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from phibench import catalog
from phibench.core import folders, run_files, units
from phibench.core.errors import PhibenchError, unknown
from phibench.core.nouns import Measured, Noun, Run, Setup

_REMEDY = (
    "give a run file or a run's id, the folder of a machine, PACKAGE==VERSION or a setup (phibench results shows them)"
)


class Selection(Noun, frozen=True, kw_only=True):
    """``text``: as the user wrote it; ``setup``: of these runs only that one."""

    text: str
    runs: tuple[Run, ...]
    setup: Setup | None = None


def select_both(first: str, second: str, folder: Path) -> tuple[tuple[Selection, Selection], tuple[str, ...]]:
    """Both sides, and a line for each file that could not be read.

    Raises PhibenchError for what nothing is known of, and for two sides that cannot be told apart.
    """
    stored, skipped = run_files.read_runs(folder)
    one, other = select(first, stored, folder), select(second, stored, folder)
    if (one.setup is None) != (other.setup is None):
        lone, run = (one, other) if one.setup else (other, one)
        raise PhibenchError(f"'{lone.text}' is a setup and '{run.text}' is not; compare two setups, or two of the rest")
    if one.setup and one.setup == other.setup:
        raise PhibenchError(f"'{first}' and '{second}' are the same setup; give two")
    if not one.setup and (both := [run.id for run in one.runs if run in other.runs]):
        raise PhibenchError(f"'{first}' and '{second}' have run {both[0]} in common; give sides that share none")
    return (one, other), skipped


def select(text: str, stored: Sequence[Run], folder: Path) -> Selection:
    """One side; ``stored``: the runs below ``folder``. Raises PhibenchError where it is nothing that is known."""
    path = folders.expanded(text)
    if path.is_file():
        return Selection(text=text, runs=(run_files.read_run(path),))
    for place in (path, folder / text):
        if text and place.is_dir() and (runs := run_files.read_runs(place)[0]):
            return Selection(text=text, runs=runs)
    if "==" in text:
        return Selection(text=text, runs=_of_version(text, stored))
    if "@" in text:
        return Selection(text=text, runs=tuple(stored), setup=_setup(text, stored))
    return Selection(text=text, runs=(_of_id(text, stored),))


def _of_version(text: str, stored: Sequence[Run]) -> tuple[Run, ...]:
    """Of ``llama-cpp-python==0.3.36``: the runs that say so in their software."""
    name, _, version = (part.strip() for part in text.partition("=="))
    package = name.lower().replace("-", "_")
    if found := tuple(run for run in stored if run.software.get(package) == version):
        return found
    known = dict.fromkeys(f"{p}=={v}" for run in stored for p, v in run.software.items())
    same = [other for other in known if other.startswith(f"{package}==")]
    raise unknown("version", text, known, f"measured with: {', '.join(same)}" if same else _REMEDY)


def _setup(text: str, stored: Sequence[Run]) -> Setup:
    """The stored setup that is meant; case does not matter, and a variant may go by another of its names."""
    asked = units.setup(text)
    named = str(msgspec.structs.replace(asked, variant=catalog.variant(asked.variant).id))
    known = {str(r.setup).lower(): r.setup for run in stored for r in run.results if isinstance(r, Measured)}
    if named.lower() not in known:
        raise unknown("setup", text, map(str, known.values()), "it was not measured; phibench results shows what was")
    return known[named.lower()]


def _of_id(text: str, stored: Sequence[Run]) -> Run:
    found = [run for run in stored if run.id == text] or [run for run in stored if text and run.id.startswith(text)]
    if not found:
        known = dict.fromkeys(name for run in stored for name in (run.id, run.machine.slug))
        raise unknown("run", text, known, _REMEDY)
    if len(found) > 1:
        names = ", ".join(f"{run.machine.slug}/{run.id}" for run in found[:3])
        raise PhibenchError(f"'{text}' may be {len(found)} runs ({names}{', ...' if len(found) > 3 else ''}); "
                            "give more of the id, or the file")  # fmt: skip
    return found[0]

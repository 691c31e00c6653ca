"""The last answer to the same question on this machine: what is different now, and keeping the new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phibench import __version__
from phibench.advise import ranking, recalled
from phibench.advise.many import best
from phibench.catalog.fingerprint import fingerprint
from phibench.cli import options
from phibench.core import advice_files
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Answer, Changed, Goal, Machine, Question, Run, Verdict
from phibench.core.units import now


def question(goal: Goal, asked: dict[str, Any]) -> Question:
    """As it was asked: a goal's own limits are the catalog's."""
    only = asked["only"]
    told = {name: value for name, value in asked.items() if isinstance(value, int | float | str)}
    return Question(
        goal=goal.id, told=told, variants=only.variants, quantizations=only.quantizations, backends=only.backends,
        any_build=only.any_build,
    )  # fmt: skip


def changed(
    folder: Path, machine: Machine, goal: Goal, asked: dict[str, Any], runs: Sequence[Run], verdicts: Sequence[Verdict]
) -> Changed | None:
    """None where nothing is different, or nothing was asked before."""
    mine = question(goal, asked)
    try:
        was = advice_files.read(advice_files.path_of(folder, machine, mine), machine, mine)
    except PhibenchError as error:
        options.note(f"the previous answer cannot be read: {error}")
        return None
    if was is None:
        return None

    def ask(place: Machine, seen: Sequence[Run]) -> Verdict | None:
        return best(place, goal, seen, **asked)

    return recalled.changed(was, machine, runs, verdicts[0], __version__, fingerprint(), ask)


def keep(
    folder: Path, machine: Machine, goal: Goal, asked: dict[str, Any], runs: Sequence[Run], verdicts: Sequence[Verdict]
) -> None:
    """Only where there is a folder of results: advice makes none. What cannot be written is said, and no failure."""
    if not folder.is_dir():
        return
    mine = question(goal, asked)
    answer = Answer(
        at=now(), phibench=__version__, catalog=fingerprint(), question=mine, machine=machine,
        runs=recalled.used(machine, runs), rows=tuple(map(recalled.row_of, ranking.shown(verdicts, _KEPT))),
    )  # fmt: skip
    try:
        advice_files.write(advice_files.path_of(folder, machine, mine), answer)
    except PhibenchError as error:
        options.note(f"this answer was not saved: {error}")


_KEPT = 5  # variants, as many as are shown where nobody says how many

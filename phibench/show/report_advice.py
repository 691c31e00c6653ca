"""The report's last question: which Phi then, why, and the lines that run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from phibench.advise import ranking, reasons, recommend
from phibench.advise.candidates import Narrowed
from phibench.advise.explain import ROWS_ALONE, Reasons
from phibench.advise.moves import Inquiry
from phibench.core.errors import NOTHING_FITS
from phibench.core.nouns import Goal, Howto, Machine, Run, Verdict
from phibench.show import advice, howto
from phibench.show.report_sections import bullets, hardware, table
from phibench.show.svg import shown

TOP = 3  # variants


class Advice(NamedTuple):
    """For one machine of the report."""

    machine: Machine
    goal: Goal
    verdicts: Sequence[Verdict]
    reasons: Reasons = ROWS_ALONE


def of_machines(shown_runs: Sequence[Run], known: Sequence[Run], goal: Goal) -> list[Advice]:
    """For each machine of these runs, by them and by all that is ``known``. An example counts: its machine is meant."""
    replace = msgspec.structs.replace
    own = [replace(run, example=False) for run in shown_runs]
    runs = tuple({(run.machine.identity, run.id, run.suite.name): run for run in (*known, *own)}.values())
    found = []
    for machine in {run.machine.identity: run.machine for run in shown_runs}.values():
        named = replace(machine, name=hardware(machine))  # what it is made of, never what somebody called it
        verdicts = recommend.advise(named, goal, runs)
        asks, chosen = Inquiry(named, goal, runs), ranking.shown(verdicts, TOP)
        why = reasons.reasons(asks, verdicts, chosen, Narrowed(), json=False) if verdicts else ROWS_ALONE
        found.append(Advice(named, goal, verdicts, why))
    return found


def advice_section(given: Advice) -> str:
    """As ``phibench recommend`` says it, but for what is to be installed there."""
    machine, goal, verdicts, why = given
    title = f"<h2>Which Phi for {shown(goal.id)}</h2>"
    if not verdicts:
        return f"<section>\n{title}\n<p>{shown(machine.name)} has no device to run on.</p>\n</section>"
    told = advice.advised(machine, goal, goal.context, verdicts, TOP, hints=False, reasons=why)
    nothing = recommend.outcome(verdicts, here=False) == NOTHING_FITS and not why.nearest
    parts = [title, f'<p class="soft">{shown(told.caption)}</p>', *(["<p>Nothing fits.</p>"] if nothing else [])]
    parts += [table(told.rows, told.columns, told.words), bullets(told.notes)]
    parts += ["<h3>Run it</h3>", *(_lines(one, one is told.run[0]) for one in told.run)] if told.run else []
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _lines(one: Howto, opened: bool) -> str:
    """Of one tool; folded, as there are many."""
    lines = "\n".join(map(shown, howto.text([one]).splitlines()))
    notes = [*filter(None, (one.misses, *one.notes))]
    parts = [f"<summary>{shown(one.title)}</summary>", f"<pre>{lines}</pre>", *([bullets(notes)] if notes else [])]
    return f"<details{' open' if opened else ''}>{''.join(parts)}</details>"

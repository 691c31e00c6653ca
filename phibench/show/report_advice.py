"""The report's last question: which Phi then, why, and the lines that run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from phibench.core.nouns import Goal, Howto, Machine, Verdict
from phibench.show import advice, howto
from phibench.show.svg import shown
from phibench.show.tables import UNKNOWN

TOP = 3  # variants


class Advice(NamedTuple):
    """For one machine of the report."""

    machine: Machine
    goal: Goal
    verdicts: Sequence[Verdict]


def advice_section(given: Advice) -> str:
    """As ``phibench recommend`` says it, but for what is to be installed there."""
    machine, goal, verdicts = given
    title = f"<h2>Which Phi for {shown(goal.id)}</h2>"
    if not verdicts:
        return f"<section>\n{title}\n<p>No engine opens a Phi on this machine.</p>\n</section>"
    told = advice.advised(machine, goal, goal.context, verdicts, TOP, hints=False)
    notes = "".join(f"<li>{shown(note)}</li>" for note in told.notes)
    parts = [title, f'<p class="soft">{shown(told.caption)}</p>', _table(told), f"<ul>{notes}</ul>"]
    parts += ["<h3>Run it</h3>", *(_lines(one, one is told.run[0]) for one in told.run)] if told.run else []
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(told: advice.Advised) -> str:
    """Under each row its words, which stay in sight where the table is wider than the screen."""
    head, wide = "".join(f"<th>{shown(column.title)}</th>" for column in told.columns), len(told.columns) - 1
    body = []
    for row, words in zip(told.rows, told.words, strict=True):
        body.append(f"<tr>{''.join(f'<td>{shown(column.cell(row) or UNKNOWN)}</td>' for column in told.columns)}</tr>")
        body.append(f'<tr class="why"><td></td><td colspan="{wide}"><span>{shown(words)}</span></td></tr>')
    table = (
        f'<table class="advice">\n<thead><tr>{head}</tr></thead>\n<tbody>\n' + "\n".join(body) + "\n</tbody></table>"
    )
    return f'<div class="scroll">{table}</div>'


def _lines(one: Howto, opened: bool) -> str:
    """Of one tool; folded, as there are many."""
    lines = "\n".join(map(shown, howto.text([one]).splitlines()))
    notes = "".join(f"<li>{shown(note)}</li>" for note in filter(None, (one.misses, *one.notes)))
    parts = [f"<summary>{shown(one.title)}</summary>", f"<pre>{lines}</pre>", *([f"<ul>{notes}</ul>"] if notes else [])]
    return f"<details{' open' if opened else ''}>{''.join(parts)}</details>"

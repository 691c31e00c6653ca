"""What a comparison says: for people with the notes below, whole rows for programs."""

from __future__ import annotations

from phibench.compare.comparison import Comparison, says
from phibench.compare.selection import Selection
from phibench.core.text import number, wrap
from phibench.core.units import gib
from phibench.show import tables


def text(a: Selection, b: Selection, found: Comparison, output: str, width: int | None) -> str:
    """For people with the notes below, whole rows for programs."""
    varied = [c for c in _SUBJECT if len({c.cell(row) for row in found.rows}) > 1]
    constant = [c.cell(found.rows[0]) for c in _SUBJECT if c not in varied]
    caption = f"A: {a.text}\nB: {b.text}\n" + ", ".join(filter(None, constant))
    shown = tables.text(found.rows, output, width, (*varied, *_FIGURES), caption, "phibench_compare")
    if output == "table":
        return shown + "".join(f"{line}\n" for note in found.notes for line in wrap(note, width))
    if output == "md":
        said = (*caption.splitlines(), *found.notes)
        return shown + "".join(f"\n{tables.markdown_text(line)}\n" for line in said if line)
    return shown


def _figure(key: str) -> tables.Column[tables.Record]:
    def cell(row: tables.Record) -> str:
        return gib(row[key]) if row["unit"] == "B" else number(row[key])

    return tables.Column(title=key.upper(), cell=cell, right=True)


def _metric(row: tables.Record) -> str:
    return f"{row['title']}" + ("" if row["unit"] == "B" else f" {row['unit']}")


_SUBJECT: tuple[tables.Column[tables.Record], ...] = (
    tables.column("setup"),
    tables.column("suite", rank=2),
    tables.column("weights", say=lambda text: f"{text} weights", rank=2),
    tables.Column(title="layers", cell=lambda row: row["layers"] and f"{row['layers']} layers", rank=2),
    tables.column("pairs", say=lambda count: f"{count} pair{'' if count == 1 else 's'}", rank=1),
)


_FIGURES: tuple[tables.Column[tables.Record], ...] = (
    tables.column("test"),
    tables.Column(title="figure", cell=_metric),
    _figure("a"),
    _figure("b"),
    tables.Column(title="B is", cell=lambda row: row["says"], short=lambda row: says(row, short=True)),
)

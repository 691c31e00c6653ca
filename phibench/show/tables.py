"""Rows to text: a table for people, Markdown, or a form for programs. Pure functions.

A row is a noun, or a record (a plain dict) where its command has none. Text from strangers' files is shown as
``plain`` does.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from phibench.core.text import number, plain, terminal_width, wrap
from phibench.show.formats import Record, keys
from phibench.show.outputs import DATA_FORMATS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Cell",
    "Column",
    "Record",
    "column",
    "columns_of",
    "draw",
    "keys",
    "markdown",
    "markdown_text",
    "text",
    "wants_color",
]

R = TypeVar("R")  # what a row is
Cell = Callable[[R], str | None]

UNKNOWN = "–"


class Column(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A title and the text of a row's cell, None when unknown.

    Where the width is short, columns of the highest ``rank`` first fall back to ``short``, then go; 0 stays.
    """

    title: str
    cell: Cell[R]
    short: Cell[R] | None = None
    right: bool = False
    rank: int = 0


def column(
    key: str,
    title: str | None = None,
    say: Callable[[Any], str] | None = None,
    *,
    right: bool = False,
    rank: int = 0,
) -> Column[Record]:
    """The column of one key of a record; ``say`` turns a known value into words."""

    def cell(row: Record) -> str | None:
        value = row.get(key)
        return None if value is None else (say or _say)(value)

    return Column(title=title or key, cell=cell, right=right, rank=rank)


def columns_of(rows: Sequence[Any]) -> tuple[Column[Any], ...]:
    """One column for every key of records, in the order of first appearance; numbers to the right."""
    return tuple(column(key, right=_all_numbers(rows, key)) for key in keys(rows))


# -------------------------------------------------------------------------------------------- for people


def draw(
    rows: Sequence[R],
    columns: Sequence[Column[R]] | None = None,
    width: int | None = None,
    caption: str | None = None,
    *,
    color: bool = False,
    below: Sequence[str] = (),
    tell_dropped: bool = True,
) -> str:
    """A table of at most ``width`` characters (None: as wide as the terminal), its caption above.

    ``below``: what stands under each row, in its words. Columns that found no room are named, if ``tell_dropped``. Who
    prints on a terminal passes ``color=wants_color()``.
    """
    width = width or terminal_width()
    shown, dropped = _fit(rows, columns_of(rows) if columns is None else tuple(columns), width)
    lines = [part for line in (caption or "").splitlines() for part in wrap(line, width)]
    drawn = _print(_table(rows, shown), width, color) if rows and shown else "nothing to show"
    lines += _with_words(drawn.splitlines(), below, width) if below else [drawn]
    if dropped and tell_dropped:
        lines += wrap(f"no room for: {', '.join(c.title for c in dropped)}", width)
    return "\n".join(lines)


_HEAD = 2  # lines: the titles, and the line below them


def _with_words(lines: list[str], words: Sequence[str], width: int) -> list[str]:
    """Under each row its own. A row begins where its first cell does: what is folded goes on without it."""
    found, left = lines[:_HEAD], iter(words)
    indent = len(lines[_HEAD]) - len(lines[_HEAD].split(maxsplit=1)[-1]) if len(lines) > _HEAD else 0
    said: list[str] = []
    for line in lines[_HEAD:]:
        if line[:indent].strip():
            found += said
            said = [" " * indent + part for part in textwrap.wrap(next(left, ""), max(width - indent, 20))]
        found.append(line)
    return [*found, *said]


def wants_color() -> bool:
    """https://no-color.org: set and not empty means none."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _fit(rows: Sequence[R], columns: tuple[Column[R], ...], width: int) -> tuple[list[Column[R]], list[Column[R]]]:
    shown, dropped = list(columns), []
    ranks = sorted({c.rank for c in columns if c.rank}, reverse=True)
    for rank in ranks:
        if _width(rows, shown) > width:
            shown = [_shortened(c) if c.rank == rank else c for c in shown]
    for rank in ranks:
        if _width(rows, shown) > width:
            dropped += [c for c in shown if c.rank == rank]
            shown = [c for c in shown if c.rank != rank]
    if _width(rows, shown) > width:
        shown = [_shortened(c) for c in shown]
    return shown, dropped


def _shortened(column: Column[R]) -> Column[R]:
    return msgspec.structs.replace(column, cell=column.short) if column.short else column


def _width(rows: Sequence[R], columns: Sequence[Column[R]]) -> int:
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(file=io.StringIO(), width=10_000)
    return Measurement.get(console, console.options, _table(rows, columns)).maximum


def _table(rows: Sequence[R], columns: Sequence[Column[R]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for c in columns:
        table.add_column(Text(c.title), justify="right" if c.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_known(c, row)) for c in columns))
    return table


def _known(column: Column[R], row: R) -> str:
    text = column.cell(row)
    return UNKNOWN if text is None else plain(text)


def _print(table: Table, width: int, color: bool) -> str:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        no_color=not color,
        legacy_windows=False,
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_say(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_say(inner) for inner in value)
    return UNKNOWN if value is None else str(value)


def _all_numbers(rows: Sequence[Record], key: str) -> bool:
    known = [row[key] for row in rows if row.get(key) is not None]
    return bool(known) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)


# ------------------------------------------------------------------------------------------ Markdown, any form


def markdown(rows: Sequence[R], columns: Sequence[Column[R]] | None = None) -> str:
    """A GitHub table, aligned in its source too; pipes, HTML and links in the data stay text."""
    from rich.cells import cell_len

    columns = columns_of(rows) if columns is None else columns
    lines = [[markdown_text(c.title) for c in columns]]
    lines += [[markdown_text(_known(c, row)) for c in columns] for row in rows]
    widths = [max(3, *(cell_len(line[i]) for line in lines)) for i in range(len(columns))]
    rule = [("-" * (w - 1) + ":") if c.right else "-" * w for c, w in zip(columns, widths, strict=True)]
    return "".join(f"| {' | '.join(_padded(line, columns, widths))} |\n" for line in (lines[0], rule, *lines[1:]))


def _padded(line: list[str], columns: Sequence[Column[R]], widths: list[int]) -> list[str]:
    from rich.cells import cell_len

    spaces = [" " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)]
    return [s + t if c.right else t + s for s, t, c in zip(spaces, line, columns, strict=True)]


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is; brackets stay readable, but make no link."""
    text = plain(text).replace("\\", "\\\\").replace("](", "]\\(").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "|`*~":
        text = text.replace(mark, "\\" + mark)
    return text


def text(
    rows: Sequence[Record],
    output: str,
    width: int | None = None,
    columns: Sequence[Column[Record]] | None = None,
    caption: str | None = None,
    name: str = "phibench",
) -> str:
    """Any records in the form ``output``: table and md show ``columns``, the others (DATA_FORMATS) hold whole rows.

    ``name`` is what a database calls them.
    """
    if output == "table":
        return draw(rows, columns, width, caption) + "\n"
    if output == "md":
        return markdown(rows, columns)
    return DATA_FORMATS[output](rows, name, None)

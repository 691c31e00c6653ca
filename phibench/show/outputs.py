"""What rows look like for programs: one entry a format, which every command with ``-o`` then has.

``--help`` of a command asks for their names, so what writes them is imported when it writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from phibench.show.formats import Record


class DataFormat(Protocol):
    """``table`` is what a database calls the rows, ``columns`` are those that it always has (None: of these rows)."""

    def __call__(self, rows: Sequence[Record], table: str, columns: Mapping[str, str] | None, /) -> str: ...


def _csv(rows: Sequence[Record], *_: object) -> str:
    from phibench.show.formats import csv_text

    return csv_text(rows)


def _json(rows: Sequence[Record], *_: object) -> str:
    from phibench.show.formats import json_array

    return json_array(rows)


def _json_lines(rows: Sequence[Record], *_: object) -> str:
    from phibench.show.formats import json_lines

    return json_lines(rows)


def _sql(rows: Sequence[Record], table: str, columns: Mapping[str, str] | None) -> str:
    from phibench.show.formats import sql_text

    return sql_text(rows, table, columns)


DATA_FORMATS: dict[str, DataFormat] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _json_lines,
    "sql": _sql,
}
OUTPUTS = ("table", "md", *DATA_FORMATS)  # the first two are for people: each command has its own

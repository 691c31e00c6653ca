"""Rows to SQL for SQLite: one table, one transaction. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phibench.tables import Row, keys, plain

_TYPES = {bool: "BOOLEAN", int: "INTEGER", float: "REAL"}


def text(rows: Sequence[Row], table: str = "phibench", columns: Mapping[str, str] | None = None) -> str:
    """``columns``: names with their types, always all of them; None: those of the rows, typed by what they hold.

    Two outputs of one command go into one table. Lists and objects are JSON text, text is as ``tables.plain`` shows it.
    """
    columns = {key: _type(row.get(key) for row in rows) for key in keys(rows)} if columns is None else columns
    fields = ",\n".join(f"  {_name(name)} {kind}".rstrip() for name, kind in columns.items())
    create = [f"CREATE TABLE IF NOT EXISTS {_name(table)} (\n{fields}\n);"] if columns else []
    into = f"INSERT INTO {_name(table)} ({', '.join(map(_name, columns))}) VALUES"
    lines = [f"{into} ({', '.join(_literal(row.get(name)) for name in columns)});" for row in rows]
    return "\n".join(["BEGIN;", *create, *lines, "COMMIT;", ""])


def _type(values: Iterable[Any]) -> str:
    """Of a column that holds nothing none: SQLite then keeps what comes later as it is."""
    found = {type(value) for value in values if value is not None}
    if found == {int, float}:
        return "REAL"
    return _TYPES.get(found.pop(), "TEXT") if len(found) == 1 else "TEXT" if found else ""


def _name(name: str) -> str:
    return '"' + plain(name).replace('"', '""') + '"'


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return json.dumps(value, allow_nan=False)
    shown = plain(value) if isinstance(value, str) else json.dumps(value, allow_nan=False)
    return "'" + shown.replace("'", "''") + "'"

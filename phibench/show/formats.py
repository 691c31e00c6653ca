"""Records (plain dicts) for programs: CSV, JSON, JSON lines, SQL for SQLite. Pure functions.

Records may hold text from strangers' files. JSON keeps it exactly (escaped); every other form shows it as
``plain`` does, so that it can neither steer a terminal nor a spreadsheet nor a web page.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from phibench.core.nouns import Need, Row, Spread
from phibench.core.text import plain

Record = Mapping[str, Any]  # a row of any command, by the keys that programs read

_FORMULA = tuple("=+-@＝＋－＠")  # what a spreadsheet takes for a formula (OWASP, CSV injection)
_SQL_TYPES = {bool: "BOOLEAN", int: "INTEGER", float: "REAL"}


def flat(row: Row) -> dict[str, Any]:
    """The keys of docs/results.md, always in this order; unknown is None."""
    return {**_asked(row), **_found(row), **_around(row), **_figures(row.metrics), **row.llama_bench}


def _asked(row: Row) -> dict[str, Any]:
    return {
        "setup": str(row.setup),
        "variant": row.setup.variant,
        "quantization": row.setup.quantization,
        "backend": row.setup.backend,
        "device": row.setup.device,
        "options": dict(row.setup.options),
        "test": str(row.workload),
        "batch": row.workload.batch,
        "room": row.workload.room or None,
        "weights": row.weights,
        "layers": row.layers,
    }


def _found(row: Row) -> dict[str, Any]:
    engine = row.engine
    return {
        "status": row.status,
        "reason": row.reason,
        "placement": engine.placement if engine else None,
        "evidence": list(engine.evidence) if engine else [],
        "engine_version": engine.version if engine else None,
        "launches": row.launches,
        "windows": row.windows,
        "wins": list(row.wins),
        "contest": list(row.contest),
        "sampling_s": row.sampling_s,
        "notes": [note.text for note in row.notes],
    }


def _around(row: Row) -> dict[str, Any]:
    run = row.run
    return {
        "machine": run.machine.slug,
        "suite": run.suite.name,
        "short": run.suite.short,
        "buffers": row.buffers,
        "memory": row.memory,
        "planned": row.planned,
        "predicted": _predicted(row.predicted),
        "energy": [msgspec.to_builtins(part) for part in row.energy],
        "run": run.id,
        "example": run.example,
        "imported": run.imported or None,
        "conditions": run.conditions,
        "warnings": list(run.warnings),
    }


def _predicted(need: Need | None) -> dict[str, Any] | None:
    """What the arithmetic said of the memory before the test; no part of it was measured."""
    if need is None:
        return None
    return {**msgspec.structs.asdict(need), "needed_bytes": need.total_bytes, "peak_bytes": need.peak_bytes}


def _figures(metrics: Mapping[str, Spread | None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, spread in metrics.items():
        found[name] = spread.median if spread else None
        found[f"{name}_low"] = spread.low if spread else None
        found[f"{name}_high"] = spread.high if spread else None
        found[f"{name}_spread"] = spread.kind if spread else None
    return found


def keys(rows: Sequence[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for row in rows for key in row))


def json_array(rows: Sequence[Record]) -> str:
    """An array, one key a line and lists on one line, as llama-bench lays it out. ASCII only."""
    objects = [
        ",\n".join(f"    {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in row.items()) for row in rows
    ]
    return "[\n" + ",\n".join(f"  {{\n{body}\n  }}" for body in objects) + "\n]\n" if rows else "[]\n"


def json_lines(rows: Sequence[Record]) -> str:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def csv_text(rows: Sequence[Record], columns: Sequence[str] | None = None) -> str:
    """Quoted as RFC 4180 says, lines end with a newline; unknown is empty, lists and objects are JSON text.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; numbers stay numbers.
    """
    names = keys(rows) if columns is None else tuple(columns)
    if not names:
        return ""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in names])
    writer.writerows([_csv_cell(row.get(name)) for name in names] for row in rows)
    return stream.getvalue()


def _csv_cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    return json.dumps(value, allow_nan=False)


def sql_text(rows: Sequence[Record], table: str = "phibench", columns: Mapping[str, str] | None = None) -> str:
    """``columns``: names with their types, always all of them; None: those of the rows, typed by what they hold.

    Two outputs of one command go into one table. Lists and objects are JSON text, text is plain.
    """
    columns = {key: _type(row.get(key) for row in rows) for key in keys(rows)} if columns is None else columns
    fields = ",\n".join(f"  {_name(name)} {kind}".rstrip() for name, kind in columns.items())
    create = [f"CREATE TABLE IF NOT EXISTS {_name(table)} (\n{fields}\n);"] if columns else []
    into = f"INSERT INTO {_name(table)} ({', '.join(map(_name, columns))}) VALUES"
    lines = [f"{into} ({', '.join(_literal(row.get(name)) for name in columns)});" for row in rows if columns]
    return "\n".join(["BEGIN;", *create, *lines, "COMMIT;", ""])


def _type(values: Iterable[Any]) -> str:
    """Of a column that holds nothing none: SQLite then keeps what comes later as it is."""
    found = {type(value) for value in values if value is not None}
    if found == {int, float}:
        return "REAL"
    return _SQL_TYPES.get(found.pop(), "TEXT") if len(found) == 1 else "TEXT" if found else ""


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

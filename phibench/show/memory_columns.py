"""Columns for people of what a test took of memory: seen, predicted, and for what. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phibench.core.nouns import Need, Row
from phibench.core.text import number
from phibench.show.tables import Column

_USES = {"kv": "KV", "copies": "copies", "weights": "weights", "compute": "compute"}  # key of ``buffers`` -> title

LEGEND = "(more or less than predicted); needed: without pages of files that the system may drop"
SHOWN = ("host_peak_bytes", "host_needed_bytes", "device_peak_bytes", "max_context_tokens")  # here, not elsewhere


def columns(rows: Sequence[Row]) -> list[Column[Row]]:
    """Of rows that were watched (else none), GiB: the peak, what of it is needed, each with the share by which it is
    more or less than predicted; then what the engine says it is for, and tokens of the largest context."""
    if not any(row.memory for row in rows):
        return []
    found = [
        _seen("peak GiB", "host_peak_bytes", lambda need: need.peak_bytes),
        _seen("needed GiB", "host_needed_bytes", lambda need: need.total_bytes),
    ]
    uses = [key for key in _USES if any(row.buffers.get(key) for row in rows)]
    found += [_use(key, rank) for rank, key in enumerate(uses, 2)]
    if any(row.median("device_peak_bytes") for row in rows):
        found.append(Column(title="device GiB", cell=lambda row: _gib(row.median("device_peak_bytes")), right=True))
    if any(row.median("max_context_tokens") for row in rows):
        found.append(Column(title="most context", cell=_context, right=True, rank=1))
    return found


def _seen(title: str, metric: str, predicted: Callable[[Need], int]) -> Column[Row]:
    def cell(row: Row) -> str | None:
        seen, said = row.median(metric), predicted(row.predicted) if row.predicted else None
        return f"{_gib(seen)} ({seen / said - 1:+.1%})" if seen and said else _gib(seen)

    return Column(title=title, cell=cell, right=True)


def _use(key: str, rank: int) -> Column[Row]:
    return Column(title=_USES[key], cell=lambda row: _gib(row.buffers.get(key)), right=True, rank=rank)


def _context(row: Row) -> str | None:
    known = row.median("max_context_tokens")
    return None if known is None else f"{known:.0f}"


def _gib(count: float | None) -> str | None:
    return None if count is None else number(count / 2**30, 2)

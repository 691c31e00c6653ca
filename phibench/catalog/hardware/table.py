"""The table itself: CSV files beside this one, whose headers say which columns their rows have, with units."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from phibench.core.nouns import Hardware

_FOLDER = Path(__file__).parent
_GIB, _MIB = 1 << 30, 1 << 20


def _text(cell: str) -> str:
    return cell


def _number(factor: float) -> Callable[[str], float]:
    """Rounded to what the cell means: 68.3 GB/s are 68300000000 bytes, not 68299999999.99999."""
    return lambda cell: float(round(float(cell) * factor))


def _count(factor: float = 1) -> Callable[[str], int]:
    return lambda cell: round(float(cell) * factor)


# Column of a file: field of the noun, and how its cells are read.
COLUMNS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "name": ("name", _text),
    "kind": ("kind", _text),
    "vendor": ("vendor", _text),
    "architecture": ("architecture", _text),
    "memory_gib": ("memory_bytes", _count(_GIB)),
    "bandwidth_gb_s": ("read_bytes_s", _number(1e9)),
    "fp16_tflops": ("fp16_flops_s", _number(1e12)),
    "int8_tops": ("int8_ops_s", _number(1e12)),
    "tdp_w": ("tdp_w", float),
    "cores_performance": ("performance_cores", _count()),
    "cores_efficient": ("efficiency_cores", _count()),
    "threads": ("threads", _count()),
    "base_ghz": ("base_hz", _number(1e9)),
    "boost_ghz": ("boost_hz", _number(1e9)),
    "isa": ("instruction_sets", lambda cell: tuple(cell.split())),
    "memory_channels": ("memory_channels", _count()),
    "memory_mt_s": ("memory_transfers_s", _number(1e6)),
    "l3_mib": ("l3_bytes", _count(_MIB)),
    "npu": ("npu", _text),
    "npu_tops": ("npu_ops_s", _number(1e12)),
    "graphics": ("graphics", _text),
    "also": ("also", lambda cell: tuple(name.strip() for name in cell.split(";"))),
    "source": ("source", _text),
}


@functools.cache
def rows() -> tuple[Hardware, ...]:
    """The whole table, file by file in their order."""
    return tuple(row for path in sorted(_FOLDER.glob("*.csv")) for row in _read(path))


def _read(path: Path) -> Iterable[Hardware]:
    with path.open(encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        columns = [COLUMNS[title] for title in next(lines)]
        for cells in lines:
            known = zip(columns, cells, strict=True)
            yield Hardware(**{field: read(cell) for (field, read), cell in known if cell})

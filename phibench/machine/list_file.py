"""A list of machines in a file that an inventory or a person wrote: CSV in any of the ways that spreadsheets write it.

The file is from a stranger: its bytes, rows and cells are limited, and what a cell holds is text and nothing else.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from phibench.core import files
from phibench.core.errors import PhibenchError
from phibench.core.text import decoded

MOST_BYTES, MOST_ROWS, MOST_COLUMNS, MOST_CHARS = 32 << 20, 100_000, 200, 1000
_SEPARATORS = ",;\t|"
_ZIP = b"PK\x03\x04"
# What the columns are called, small letters and digits alone; of several of one kind the first in this order is taken,
# but all graphics.
_TITLES = {
    "name": (
        "name", "hostname", "host", "computer", "computername", "devicename", "machine", "machinename", "pcname",
        "systemname", "asset", "assetname", "assettag", "device", "rechnername", "pc", "id", "serial", "serialnumber",
        "model", "devicemodel", "systemmodel",
    ),
    "cpu": (
        "cpu", "processor", "cpuname", "processorname", "cpumodel", "processormodel", "cputype", "processortype",
        "prozessor", "processeur", "procesador", "chip", "soc",
    ),
    "gpu": (
        "gpu", "graphics", "graphicscard", "graphicscards", "videocontroller", "videocard", "videoadapter", "gpuname",
        "gpumodel", "displayadapter", "graphicsadapter", "graphiccard", "video", "vga", "gpus", "grafikkarte", "grafik",
        "cartegraphique", "tarjetagrafica", "accelerator",
    ),
    "ram": (
        "ram", "memory", "memoryram", "rammemory", "totalram", "totalmemory", "physicalmemory", "totalphysicalmemory",
        "installedram", "installedmemory", "installedphysicalmemory", "memorysize", "ramsize", "systemmemory", "mem",
        "memtotal", "arbeitsspeicher", "hauptspeicher", "memoire", "memoirevive", "memoria",
    ),
    "os": (
        "os", "operatingsystem", "osname", "system", "platform", "osversion", "betriebssystem", "systemedexploitation",
        "sistemaoperativo",
    ),
}  # fmt: skip
_UNITS = {"kb": "k", "kib": "k", "mb": "m", "mib": "m", "mo": "m", "gb": "g", "gib": "g", "go": "g", "tb": "t",
          "tib": "t", "bytes": "b", "byte": "b", "b": "b"}  # fmt: skip
_ACCENTS = str.maketrans("áàâäéèêëíìîïóòôöúùûü", "aaaaeeeeiiiioooouuuu")


class Row(NamedTuple):
    """What one line says, as it stands there but for blanks; "" where it says nothing. ``unit``: of the memory."""

    line: int
    name: str
    cpu: str = ""
    gpu: str = ""
    ram: str = ""
    os: str = ""
    unit: str = ""
    wrong: str = ""  # why it cannot be read


def read(path: Path) -> tuple[Row, ...]:
    """Raises PhibenchError (exit 2) for a file that is none, too large, or without a column that names hardware."""
    try:
        files.check_readable(path, MOST_BYTES)
        content = path.read_bytes()
    except FileNotFoundError:
        raise PhibenchError(f"there is no file {path}") from None
    except OSError as error:
        raise PhibenchError(f"cannot read {path}: {files.explained(error)}") from None
    return rows(content, str(path))


def rows(content: bytes, name: str) -> tuple[Row, ...]:
    """The rows of a file's content; ``name`` is what an error calls it."""
    text = _text(content, name)
    if not text.strip():
        raise PhibenchError(f"{name} is empty; write name,cpu,gpu,ram,os and a row for each machine")
    before = re.match(r"(?:\s*#.*\n)*", text)  # PowerShell's "#TYPE ..."
    preamble = before[0] if before else ""
    text = text[len(preamble) :]
    if told := re.match(r"\s*sep=([,;\t|])\s*?\n", text, re.IGNORECASE):  # Excel's own first line
        separator, preamble, text = told[1], preamble + told[0], text[told.end() :]
    else:
        separator = _separator(text)
    found = list(_rows(text, separator, name, preamble.count("\n")))
    if not found:
        raise PhibenchError(f"{name} has a header and no machine; write a row for each")
    return tuple(found)


def _text(content: bytes, name: str) -> str:
    """As :func:`decoded`, and the older encodings of Windows, in which any byte is a letter."""
    if content.startswith(_ZIP):
        raise PhibenchError(f"{name} is a workbook or another zip file, not CSV; save it as CSV")
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" not in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            content = content.decode("cp1252", errors="replace").encode()
    return decoded(content, name)


def _separator(text: str) -> str:
    """That which parts the first line into the most known titles."""
    first = next((line for line in text.splitlines() if line.strip()), "")[: MOST_CHARS * 10]
    return max(_SEPARATORS, key=lambda mark: (len(_columns(first.replace('"', "").split(mark))), first.count(mark)))


def _rows(text: str, separator: str, name: str, skipped: int) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: dict[str, tuple[int, ...]] = {}
    unit, count = "", 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _header(cells, name)
                unit = _unit(cells[columns["ram"][0]]) if "ram" in columns else ""
                continue
            count += 1
            if count > MOST_ROWS:
                raise PhibenchError(f"{name} has more than {MOST_ROWS} rows; split it")
            yield _row(cells, columns, reader.line_num + skipped, count, unit)
    except csv.Error as error:
        raise PhibenchError(f"{name}, line {reader.line_num + skipped}: {error}; is a quote left open?") from None


def _header(cells: Sequence[str], name: str) -> dict[str, tuple[int, ...]]:
    if len(cells) > MOST_COLUMNS:
        raise PhibenchError(f"{name} has {len(cells)} columns, more than {MOST_COLUMNS}; keep name, cpu, gpu, ram, os")
    columns = _columns(cells)
    if "cpu" not in columns and "gpu" not in columns:
        seen = ", ".join(cell.strip()[:30] for cell in cells[:8])
        raise PhibenchError(f"{name}: no column cpu or gpu in its first line ({seen}); write name,cpu,gpu,ram,os there")
    return columns


def _columns(cells: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Which cells say what: of graphics all, of the others the one with the likeliest title."""
    plain = [_plain(cell) for cell in cells]
    found: dict[str, tuple[int, ...]] = {}
    for what, titles in _TITLES.items():
        ranked = sorted((titles.index(title), at) for at, title in enumerate(plain) if title in titles)
        if ranked:
            found[what] = tuple(at for _, at in ranked)
    return found


def _plain(title: str) -> str:
    """Without unit, number and marks: ``RAM (GB)``, ``Memory_MB``, ``GPU 2``."""
    text = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", title[:100].lower().translate(_ACCENTS))
    words = re.findall(r"[a-z]+", text)
    while len(words) > 1 and words[-1] in _UNITS:
        words.pop()
    return "".join(words)


def _unit(title: str) -> str:
    words = re.findall(r"[a-z]+", title[:100].lower())
    if "".join(words) == "totalphysicalmemory":  # what Windows calls it, in bytes
        return ""
    return next((_UNITS[word] for word in reversed(words) if word in _UNITS), "")


def _row(cells: Sequence[str], columns: dict[str, tuple[int, ...]], line: int, count: int, unit: str) -> Row:
    def said(what: str) -> list[str]:
        texts = (" ".join(cells[at].split()) for at in columns.get(what, ()) if at < len(cells))
        return [text for text in texts if text]

    name = next(iter(said("name")), "")[:100] or f"row {count}"
    longest = max(len(cell) for cell in cells)
    if longest > MOST_CHARS:
        return Row(line, name, wrong=f"a cell of {longest} characters; is a quote left open?")
    cpu, ram, os = (next(iter(said(what)), "") for what in ("cpu", "ram", "os"))
    return Row(line, name, cpu, "; ".join(said("gpu")), ram, os, unit)

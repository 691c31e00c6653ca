"""One place where energy or power can be read, and how it is found in a tree."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Literal, NamedTuple

from phibench.core.nouns import Source
from phibench.probe.energy.access import Access
from phibench.probe.system import cpu, text_files

Scope = Literal["cpu_package", "cpu_core", "dram", "gpu_board", "gpu_die", "soc", "system_dc", "system_ac"]


Kind = str  # the module of phibench/meters/sources that reads such a place


class Place(NamedTuple):
    """A source and where a meter reads it. ``apart``: it adds up with others of its kind, is no part and no copy.

    ``why`` it cannot be read, "" where it can.
    """

    source: Source
    kind: Kind
    at: Path = Path()  # the file of a counter or sensor; the folder of a battery; perf's event; EMI's Channel.at
    apart: bool = True
    why: str = ""


class Found(NamedTuple):
    value: int | None
    access: Access = Access()


def read(path: Path, shown: str, alike: str = "") -> Found:
    """A number, or why there is none; ``shown`` is the path on this machine, ``alike`` a pattern for all like it."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            value = text_files.integer(stream.read(64))
    except PermissionError as error:
        if error.errno == errno.EPERM:  # the driver's answer, not the file's mode: amdgpu's for a card that sleeps
            return Found(None, Access("the driver does not answer now: a sleeping GPU does once it is in use"))
        grant = f"sudo chmod o+r {alike or shown}"
        return Found(None, Access(f"needs read access to {shown}: {grant} (until the next boot)", grant))
    except OSError as error:
        return Found(None, Access(f"cannot be read: {cpu.clean(error.strerror or 'unknown error')}"))
    return Found(value, Access("" if value is not None else "gives no number"))


def one_place(
    kind: Kind, at: Path, name: str, scope: Scope, method: Literal["counter", "power"], access: Access,
    overlaps: str = "",
) -> Place:  # fmt: skip
    because = "; ".join(filter(None, (access.why, overlaps and f"overlaps {overlaps}")))
    source = Source(name=name, scope=scope, method=method, readable=not access.why, because=because,
                    grant=access.grant, overlaps=overlaps)  # fmt: skip
    return Place(source, kind, at, apart=not overlaps, why=access.why)


def word(path: Path) -> str:
    return cpu.clean(text_files.text(path, 200))


def listed(folder: Path, pattern: str) -> list[Path]:
    """Entries of a folder whose whole name matches, numbers in their order."""
    try:
        names = [entry.name for entry in folder.iterdir() if re.fullmatch(pattern, entry.name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda n: [int(d) for d in re.findall("[0-9]{1,9}", n)] or [0])]

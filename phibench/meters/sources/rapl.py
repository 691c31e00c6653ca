"""RAPL through powercap files: microjoules in 32 bits of a register's units, so it wraps, within a minute at worst.

Documentation/power/powercap/powercap.rst. AMD's zones have the same names, and no limits. Not run on hardware.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from phibench.meters.counters import Counter, number
from phibench.probe.energy.place import Place
from phibench.probe.system import text_files


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    del root, stack
    zone = place.at.parent
    limits = [text_files.number(path) or 0 for path in zone.glob("constraint_*_power_limit_uw")]
    return [
        Counter(
            name=place.source.name,
            scope=place.source.scope,
            method="counter",
            read=lambda: number(place.at),
            joules=1e-6,
            wraps_at=text_files.number(zone / "max_energy_range_uj"),
            most_w=max(limits, default=0) / 1e6 or None,  # the short-term one: a package may go above the others
        )
    ]

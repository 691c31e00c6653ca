"""A Jetson's input rail: volts times amperes, integrated. Other rails are parts of it. Not run on hardware."""

from __future__ import annotations

import contextlib
from pathlib import Path

from phibench.meters.counters import Counter, number
from phibench.probe.energy.place import Place


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    del root, stack
    amperes = place.at.with_name(place.at.name.replace("in", "curr", 1))
    return [Counter(name=place.source.name, scope=place.source.scope, method="integrated_power", every_s=0.1,
                    read=lambda: number(place.at) * number(amperes) / 1e6)]  # fmt: skip

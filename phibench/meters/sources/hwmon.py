"""Counters (µJ) and power (µW) that drivers show in hwmon: AMD's and Intel's GPUs, some processors, servers.

i915 and xe add up their 32-bit counter whenever it is read, so it is read every second. Documentation/hwmon and
ABI/testing/sysfs-driver-intel-*-hwmon. Not run on hardware.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from phibench.meters.counters import Counter, number
from phibench.probe.energy.place import Place
from phibench.probe.system import text_files


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    del root, stack
    source, channel = place.source, place.at.name.partition("_")[0].replace("energy", "power")
    limits = [text_files.number(place.at.parent / f"{channel}_{kind}") or 0 for kind in ("cap", "max")]
    most_w = max(limits) / 1e6 or None
    if source.method == "counter":
        return [Counter(name=source.name, scope=source.scope, method="counter", read=lambda: number(place.at),
                        joules=1e-6, most_w=most_w)]  # fmt: skip
    return [Counter(name=source.name, scope=source.scope, method="integrated_power",
                    read=lambda: number(place.at) / 1e6, every_s=0.1, most_w=most_w)]  # fmt: skip

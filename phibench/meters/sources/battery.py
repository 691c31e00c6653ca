"""A battery's own meter, which shows a new value every few seconds to a minute: windows of minutes.

It sees the whole machine, screen included, and only while nothing else feeds it. Not run on hardware.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from phibench.meters.counters import Counter
from phibench.probe.energy import power_supply
from phibench.probe.energy.place import Place
from phibench.probe.system import text_files

_MIN_WINDOW_S = 300.0


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    del stack

    def watts() -> float:
        status = text_files.text(place.at / "status", 64).strip()
        if status != "Discharging" or power_supply.supply(root) == "mains":
            raise OSError(f"it does not power the machine now ({status.lower() or 'unknown'})")
        power_uw = power_supply.battery_uw(place.at)
        if not power_uw:
            raise OSError("it reports no power")
        return power_uw / 1e6

    return [Counter(name=place.source.name, scope=place.source.scope, method="integrated_power", read=watts,
                    min_window_s=_MIN_WINDOW_S)]  # fmt: skip

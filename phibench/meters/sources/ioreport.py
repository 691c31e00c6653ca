"""Apple's chips: what macOS adds up for processor, GPU, neural engine and memory. Not run on hardware.

Apple calls these figures estimates. Some channels are published twice in two seconds only, so windows are long.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from phibench.meters.counters import Counter
from phibench.probe.devices import apple
from phibench.probe.energy.place import Place

_MIN_WINDOW_S = 30.0


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    del root, stack
    return [Counter(name=place.source.name, scope=place.source.scope, method="counter", read=apple.energy(),
                    joules=1e-3, min_window_s=_MIN_WINDOW_S, note="Apple calls its own figures estimates")]  # fmt: skip

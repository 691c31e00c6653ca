"""RAPL's registers through perf: 64 bits, kept by the kernel, so they do not wrap. One counter per package.

Where the files of powercap are not readable. Not run on hardware.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from pathlib import Path

from phibench.meters.counters import Counter
from phibench.probe.energy import perf
from phibench.probe.energy.place import Place


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    event = perf.event(root, place.at.name)
    if event is None:
        raise OSError("the event is gone")
    found = []
    for cpu in event.cpus:
        handle = perf.opened(event.kind, event.config, cpu)
        if isinstance(handle, str):
            raise OSError(handle)
        stack.callback(os.close, handle)
        name = place.source.name if len(event.cpus) == 1 else f"{place.source.name} cpu {cpu}"
        found.append(Counter(name=name, scope=place.source.scope, method="counter",
                             read=functools.partial(_count, handle), joules=event.joules))  # fmt: skip
    return found


def _count(handle: int) -> int:
    data = os.read(handle, 8)
    if len(data) != 8:
        raise OSError("the event has ended")
    (count,) = struct.unpack("=Q", data)
    return int(count)

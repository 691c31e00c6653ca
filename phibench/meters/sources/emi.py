"""Windows' Energy Meter Interface: the processor's packages and memory, in picowatt-hours. Not run on hardware."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from phibench.meters.counters import Counter
from phibench.probe.energy import emi
from phibench.probe.energy.place import Place


def counters(place: Place, root: Path, stack: contextlib.ExitStack) -> list[Counter]:
    del root, stack
    channel = next((found for found in emi.channels() if found.at == place.at), None)
    if channel is None:
        raise OSError("the energy meter is gone")
    return [Counter(name=place.source.name, scope=place.source.scope, method="counter", joules=emi.JOULES,
                    read=functools.partial(_count, channel))]  # fmt: skip


def _count(channel: emi.Channel) -> int:
    return emi.counts(channel.device, channel.of)[channel.place]

"""NVIDIA's board: the driver's counter in millijoules (Volta and later), else its power, integrated.

The power of GeForce and workstation boards since Ampere is an average over the last second (nvml.h), and on A100 and
H100 only a quarter of the time is looked at (arXiv 2312.02741): the counter is taken wherever there is one.
Not run on hardware: answers of a fake NVML.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phibench.meters.counters import Counter
from phibench.probe.devices import nvml
from phibench.probe.energy.place import Place

_MOST = 1 << 62


def counters(place: Place, root: Path, stack: contextlib.ExitStack, api: Any = None) -> list[Counter]:
    """``api``: the module, given by tests."""
    del root
    found = stack.enter_context(nvml.opened(api))
    gpus = nvml.visible(found) if found else []
    index = int(place.at.name.partition(":")[2] or 0)
    if index >= len(gpus):
        raise OSError("NVML shows no such GPU")
    names = {nvml.text(nvml.call(found, "nvmlDeviceGetName", gpu.whole)) for gpu in gpus}
    if len(names) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise OSError("the GPUs differ, and CUDA counts them from the fastest: set CUDA_DEVICE_ORDER=PCI_BUS_ID")
    gpu = gpus[index]
    limit_mw = nvml.count(nvml.call(found, "nvmlDeviceGetEnforcedPowerLimit", gpu.whole), 10**8)
    note = "" if gpu.part is None else "the whole GPU's, of which this process has a slice"
    most_w = limit_mw / 1e3 if limit_mw else None
    if place.source.method == "counter":
        counter = _reader(found, "nvmlDeviceGetTotalEnergyConsumption", gpu.whole)
        return [Counter(name=place.source.name, scope="gpu_board", method="counter", read=counter, joules=1e-3,
                        most_w=most_w, note=note)]  # fmt: skip
    power = _reader(found, "nvmlDeviceGetPowerUsage", gpu.whole)
    return [Counter(name=place.source.name, scope="gpu_board", method="integrated_power", read=lambda: power() / 1e3,
                    every_s=0.1, most_w=most_w, note=note)]  # fmt: skip


def _reader(api: Any, call: str, handle: Any) -> Callable[[], int]:
    def read() -> int:
        value = nvml.count(nvml.call(api, call, handle), _MOST)
        if value is None:
            raise OSError(f"NVML does not answer {call}")
        return value

    return read

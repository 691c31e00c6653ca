"""This machine as a noun. Every reader takes ``root``, so a recorded tree is probed like the real thing.

In: files, drivers and calls of this system. Out: devices, limits, conditions, rates; unknown where nobody tells.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phibench.core.nouns import Device, Machine
from phibench.probe import devices
from phibench.probe.energy import power_supply, sources
from phibench.probe.speed import doubts
from phibench.probe.system import cpu, limits
from phibench.probe.system.memory import host_memory
from phibench.probe.system.processor import processor

if TYPE_CHECKING:
    from phibench.probe.speed.memory import Bandwidth

_OS = {"Darwin": "macos", "Linux": "linux", "Windows": "windows"}


def machine(
    *, bandwidth_s: float | None = 3.0, root: Path = cpu.ROOT, providers: Sequence[devices.Provider] = ()
) -> Machine:
    """The machine and what this process may use of it; never raises for what cannot be read.

    ``bandwidth_s`` seconds go into the read bandwidth of memory; None leaves it unknown, and so does a recorded
    ``root``, which has no memory to read. ``providers``: what ONNX Runtime said that it can use, as
    (execution provider, kind of device, vendor). The host's name appears nowhere.
    """
    found = cpu.cpu(root)
    usable = limits.limits(root)
    found_gpus = devices.gpus(root)
    quick = Machine(
        name=found.name,
        os=_OS.get(platform.system(), platform.system().lower()),
        arch=found.arch,
        physical_cores=found.physical_cores,
        logical_cores=found.logical_cores,
        memory_bytes=host_memory(root)[0],
        devices=(
            Device(kind="cpu", name=found.name, memory_bytes=usable.memory_bytes),
            *found_gpus,
            *devices.others(root, providers),
        ),
        limits=usable,
        processor=processor(root),
        power=power_supply.supply(root),
        energy=sources.sources(root, gpus=found_gpus),
    )
    if bandwidth_s is None or root != cpu.ROOT:
        return quick
    return with_bandwidth(quick, bandwidth(quick, bandwidth_s))


def gpus(root: Path = cpu.ROOT) -> tuple[Device, ...]:
    """No GPU and no driver is an empty tuple."""
    return devices.gpus(root)


def bandwidth(here: Machine, seconds: float) -> Bandwidth:
    """Measure the memory of the machine that this runs on, with the threads that ``here`` may use."""
    from phibench.probe.speed import memory

    caches = cpu.cpu().cache_bytes
    return memory.read_bandwidth(
        seconds, here.limits.threads, free_bytes=here.limits.free_bytes, cache_bytes=caches, cpus=here.limits.cpus
    )


def with_bandwidth(here: Machine, found: Bandwidth) -> Machine:
    """The machine with a read bandwidth of its processor, or with the reason why there is none."""
    first, *others = here.devices
    basis = "probed" if found.read_bytes_s is not None else None
    most = doubts.capped(found.most_read_bytes_s, found.read_bytes_s, first.spec_read_bytes_s)
    known = msgspec.structs.replace(
        first, read_bytes_s=found.read_bytes_s, copy_bytes_s=found.copy_bytes_s, basis=basis, because=found.because,
        doubt=found.doubt, most_read_bytes_s=most,
    )  # fmt: skip
    return msgspec.structs.replace(here, devices=(known, *others))

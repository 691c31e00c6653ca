"""This machine as a noun. Every reader takes ``root``, so a recorded tree is probed like the real thing."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from phibench.nouns import Device, Machine
from phibench.probe import cpu, limits

if TYPE_CHECKING:
    from phibench.probe.memory import Bandwidth

_OS = {"Darwin": "macos", "Linux": "linux", "Windows": "windows"}


def machine(*, bandwidth_s: float | None = 3.0, root: Path = cpu.ROOT) -> Machine:
    """The machine and what this process may use of it; never raises for what cannot be read.

    ``bandwidth_s`` seconds go into the read bandwidth of memory; None leaves it unknown, and so does a recorded
    ``root``, which has no memory to read. The host's name appears nowhere.
    """
    found = cpu.cpu(root)
    usable = limits.limits(root)
    quick = Machine(
        name=found.name,
        os=_OS.get(platform.system(), platform.system().lower()),
        arch=found.arch,
        physical_cores=found.physical_cores,
        logical_cores=found.logical_cores,
        memory_bytes=limits.host_memory(root)[0],
        devices=(Device(kind="cpu", name=found.name, memory_bytes=usable.memory_bytes),),  # accelerators follow it
        limits=usable,
    )
    if bandwidth_s is None or root != cpu.ROOT:
        return quick
    return with_bandwidth(quick, bandwidth(quick, bandwidth_s))


def bandwidth(here: Machine, seconds: float) -> Bandwidth:
    """Measure the memory of the machine that this runs on, with the threads that ``here`` may use."""
    from phibench.probe import memory

    caches = cpu.cpu().cache_bytes
    return memory.read_bandwidth(seconds, here.limits.threads, free_bytes=here.limits.free_bytes, cache_bytes=caches)


def with_bandwidth(here: Machine, found: Bandwidth) -> Machine:
    """The machine with a read bandwidth of its processor, or with the reason why there is none."""
    first, *others = here.devices
    basis = "probed" if found.read_bytes_s is not None else None
    processor = msgspec.structs.replace(first, read_bytes_s=found.read_bytes_s, basis=basis, because=found.because)
    return msgspec.structs.replace(here, devices=(processor, *others))

"""Where energy and power can be read on this machine, and what is missing where they cannot.

Named, not measured: a meter (phibench/meters) opens what is ``readable``. Parts that lie inside another source, or
repeat it, say so in ``overlaps``, so that nobody adds them up. Not run on hardware: the machines this was
written on have no such counter; layouts are from the kernel's documentation (ABI/testing/sysfs-class-powercap,
sysfs-class-power, gpu/amdgpu/thermal, hwmon/*).

The kinds that repeat one another are put in order here. One that is a source of its own needs no entry: a module of
this folder with a function ``found(root)``.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

from phibench.core.nouns import Device, Source
from phibench.probe.devices import apple
from phibench.probe.energy import emi, perf
from phibench.probe.energy.access import Access
from phibench.probe.energy.hwmon import hwmon
from phibench.probe.energy.place import Place, one_place
from phibench.probe.energy.rapl import rapl
from phibench.probe.system import cpu


def sources(root: Path = cpu.ROOT, gpus: tuple[Device, ...] = ()) -> tuple[Source, ...]:
    """Every energy counter and power sensor that is present, readable or not; empty where the system has none.

    ``gpus`` are devices that were probed already, with their ``energy_method``.
    Nothing is changed and no privilege is asked for; what would grant access is one line, ``grant``.
    """
    return tuple(place.source for place in places(root, gpus))


def places(root: Path = cpu.ROOT, gpus: tuple[Device, ...] = ()) -> tuple[Place, ...]:
    """The same with what a meter needs to read them."""
    zones = tuple(rapl(root))
    package = next((zone.source.name for zone in zones if zone.source.scope == "cpu_package"), "")
    found = (
        *zones,
        *(_event(found) for found in perf.sources(root, rapl=bool(package))),
        *hwmon(root, package),
        *(_nvml(gpu) for gpu in gpus if gpu.kind.startswith("cuda")),
        *_others(root),
    )
    return (*found, *_elsewhere()) if root == cpu.ROOT else found


def _event(found: perf.Found) -> Place:
    name = f"perf {found.event}"
    place = one_place("perf", Path(found.event), name, found.scope, "counter", found.access, found.overlaps)
    return place._replace(apart=found.apart)


def _others(root: Path) -> Iterator[Place]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        kind = importlib.import_module(f"{__package__}.{module.name}")
        yield from kind.found(root) if hasattr(kind, "found") else ()


def _elsewhere() -> Iterator[Place]:
    """Systems that show no files."""
    if sys.platform == "darwin":
        yield one_place("ioreport", Path(), "IOReport", "soc", "counter", apple.energy_access())
    channels = emi.channels() if sys.platform == "win32" else ()
    for channel in channels:
        scope, part = emi.scope(channel.name)
        if scope:
            yield one_place("emi", channel.at, f"EMI {channel.name}", scope, "counter", Access(), part)


# --------------------------------------------------------------------------------------------------- RAPL


# -------------------------------------------------------------------------------------------------- hwmon


# ---------------------------------------------------------------------------------------- GPUs, batteries


def _nvml(gpu: Device) -> Place:
    """Its counter, else its power, which the driver only samples."""
    method = gpu.energy_method or "counter"
    why = "its driver reports neither energy nor power (some laptops, virtual GPUs, Jetson)"
    access = Access("" if gpu.energy_method else why)
    return one_place("nvml", Path(gpu.kind), f"NVML {gpu.kind}", "gpu_board", method, access)


# ------------------------------------------------------------------------------------------------- reading

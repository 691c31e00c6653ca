"""Apple's GPU shares the machine's memory; macOS may say how much of it a GPU may wire. Not run on hardware.

The energy of its chips is in IOReport, an interface that Apple keeps to itself; the package zeus-apple-silicon reads
it, where somebody has installed it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from phibench.core.nouns import Device
from phibench.probe.devices import Provider
from phibench.probe.energy.access import Access
from phibench.probe.system import sysctl
from phibench.probe.system.cpu import ROOT, clean

# From memory, no document found: without a setting macOS lets the GPU wire two thirds of the memory up to 36 GB and
# three quarters above. Metal's recommendedMaxWorkingSetSize would tell.
_SMALL_BYTES, _SMALL_SHARE, _LARGE_SHARE = 36 << 30, 2 / 3, 3 / 4
GPUS = True


def devices(root: Path = ROOT, _providers: Sequence[Provider] = ()) -> tuple[Device, ...]:
    """``metal`` on Apple silicon, nothing elsewhere. macOS answers by calls, so only on the machine itself."""
    if root != ROOT or sys.platform != "darwin" or sysctl.number("hw.optional.arm64") != 1:
        return ()
    return device(clean(sysctl.text("machdep.cpu.brand_string")), sysctl.number("hw.memsize"),
                  sysctl.number("iogpu.wired_limit_mb"))  # fmt: skip


def device(name: str, memory_bytes: int | None, wired_mb: int | None) -> tuple[Device, ...]:
    notes = ["shares the machine's memory"]
    usable = None
    if wired_mb and wired_mb > 0:
        usable = wired_mb << 20
    elif memory_bytes and memory_bytes > 0:
        usable = int(memory_bytes * (_SMALL_SHARE if memory_bytes <= _SMALL_BYTES else _LARGE_SHARE))
        notes.append("macOS does not report the GPU's share of memory; two thirds to three quarters is assumed")
    return (
        Device(
            kind="metal",
            name=f"{name or 'Apple'} GPU",
            memory_bytes=min(usable, memory_bytes) if usable and memory_bytes else usable,
            shares_memory=True,
            because="macOS does not report the memory bandwidth",
            driver="Metal",
            notes=tuple(notes),
        ),
    )


# Of AppleEnergyMetrics: these do not lie inside one another, as cores and their managers lie inside cpu_total.
_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")
_PACKAGE = "zeus_apple_silicon"


def energy_access() -> Access:
    """Of the chip's energy."""
    if importlib.util.find_spec(_PACKAGE):
        return Access()
    grant = "pip install zeus-apple-silicon"
    return Access(f"needs the package that reads IOReport: {grant}", grant)


def energy() -> Callable[[], int]:
    """A reader of the millijoules that the whole chip has taken so far. Raises OSError where it does not tell."""
    try:
        monitor = importlib.import_module(_PACKAGE).AppleEnergyMonitor()
    except (ImportError, AttributeError, RuntimeError) as error:
        raise OSError(f"{_PACKAGE} does not work here: {clean(str(error))}") from None

    def read() -> int:
        try:
            seen = monitor.get_cumulative_energy()
        except RuntimeError as error:
            raise OSError(clean(str(error))) from None
        told = [value for part in _PARTS if (value := getattr(seen, part, None)) is not None]
        if not told:
            raise OSError("it reports no energy")
        return sum(told)

    return read

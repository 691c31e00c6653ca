"""Intel's GPUs as the kernel drivers i915 and xe show them in sysfs. Not run on hardware: recorded trees."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from phibench.core.nouns import Device
from phibench.probe.devices import Provider, pci
from phibench.probe.system import text_files
from phibench.probe.system.cpu import ROOT

_INTEGRATED_SLOT = "0000:00:02.0"  # from memory; i915 itself looks for the integrated GPU there
_SELECTORS = ("ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK")
_DRIVERS = frozenset({"i915", "xe"})
GPUS = True


def devices(
    root: Path, _providers: Sequence[Provider] = (), environ: Mapping[str, str] | None = None
) -> tuple[Device, ...]:
    """``xpu:0``, ... A card has memory that it tells of, or the energy counter that only cards have, or another slot
    than the one in which Intel has put its integrated GPUs since 2004.

    What SYCL's variables leave of them to a program is not worked out: a note says that they are set.
    """
    environ = environ if environ is not None else os.environ if root == ROOT else {}
    notes = tuple(
        f"{key} is set: programs may see other GPUs, in another order" for key in _SELECTORS if key in environ
    )
    found = pci.cards(root, "0x8086", _DRIVERS)
    return tuple(_device(root, folder, driver, f"xpu:{i}", notes) for i, (folder, driver) in enumerate(found))


def cards(root: Path) -> list[Path]:
    """Their folders."""
    return [folder for folder, _ in pci.cards(root, "0x8086", _DRIVERS)]


def _device(root: Path, folder: Path, driver: str, kind: str, more: tuple[str, ...]) -> Device:
    memory = _memory(folder)
    energy = pci.sensor(folder, "energy1_input", "energy2_input")
    integrated = memory is None and energy is None and pci.slot(folder) in {"", _INTEGRATED_SLOT}
    facts = {
        "pci": pci.identity(folder) or None,
        "chip": pci.listed(root, folder) or None,
        "power_cap": pci.watts(limit_uw := pci.sensor(folder, "power1_max", "power1_cap")),
        "clock_max": _clock(folder),
        "energy_counter_hwmon": "yes" if energy is not None else None,
    }
    notes = []
    if integrated:
        notes.append("integrated: its memory is a part of the machine's")
    elif memory is None:
        notes.append(f"{driver} does not report how much memory the card has")
    return Device(
        kind=kind,
        name=f"Intel {'integrated GPU' if integrated else 'GPU'} {pci.identity(folder)}".strip(),
        memory_bytes=memory,
        shares_memory=integrated,
        because=f"{driver} reports neither memory clock nor bus width",
        driver=driver,
        power_limit_w=pci.limit_w(limit_uw),
        facts={key: value for key, value in facts.items() if value},
        notes=(*notes, *more),
    )


def _memory(folder: Path) -> int | None:
    """All tiles together: xe's ``tile*/physical_vram_size_bytes`` (with what the driver keeps for itself), and
    ``lmem_total_bytes``, which only Intel's own builds of i915 have."""
    files = [*folder.glob("tile*/physical_vram_size_bytes"), folder.parent / "lmem_total_bytes"]
    sizes = [size for file in files if (size := text_files.number(file)) and 0 < size < 1 << 50]
    return sum(sizes) or None


def _clock(folder: Path) -> str | None:
    files = [*folder.glob("tile*/gt*/freq0/max_freq"), folder.parent / "gt_max_freq_mhz"]
    clocks = [clock for file in files if (clock := text_files.number(file)) and 0 < clock < 1 << 16]
    return f"{max(clocks)} MHz" if clocks else None

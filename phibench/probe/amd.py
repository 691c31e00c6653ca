"""AMD's GPUs as the kernel driver amdgpu shows them in sysfs. Not run on hardware: recorded trees.

amdsmi is not asked: sysfs has what is needed, and amdsmi must match the installed ROCm to be of use.
"""

from __future__ import annotations

import re
from pathlib import Path

from phibench.nouns import Device
from phibench.probe import pci, tree


def devices(root: Path) -> tuple[Device, ...]:
    """``rocm:0``, ... An integrated GPU has the memory that it was given and what it may map besides (GTT)."""
    found = pci.cards(root, "0x1002", frozenset({"amdgpu"}))
    return tuple(_device(folder, f"rocm:{i}") for i, (folder, _) in enumerate(found))


def _device(folder: Path, kind: str) -> Device:
    total, used, mapped = (_bytes(folder / f"mem_info_{k}") for k in ("vram_total", "vram_used", "gtt_total"))
    # A card's memory chips have a maker; the part of main memory that a firmware sets aside has none.
    integrated = pci.word(folder / "mem_info_vram_vendor") in {"", "unknown"}
    memory = total + mapped if integrated and total is not None and mapped is not None else total
    free = total - used if total is not None and used is not None and used <= total and not integrated else None
    facts = {
        "pci": pci.identity(folder) or None,
        "power_cap": pci.watts(pci.sensor(folder, "power1_cap")),
        "clock_max": _highest(folder / "pp_dpm_sclk"),
        "memory_clock_max": _highest(folder / "pp_dpm_mclk"),
        "power_sensor": "yes" if pci.sensor(folder, "power1_average", "power1_input") is not None else None,
    }
    notes = ("integrated: its memory is a part of the machine's",) if integrated else ()
    return Device(
        kind=kind,
        name=pci.word(folder / "product_name") or f"AMD GPU {pci.identity(folder)}".strip(),
        memory_bytes=memory,
        free_bytes=free,
        shares_memory=integrated,
        because="amdgpu tells no bus width, so no bandwidth follows from it",
        driver="amdgpu",
        facts={key: value for key, value in facts.items() if value},
        notes=notes,
    )


def _bytes(path: Path) -> int | None:
    count = tree.number(path)
    return count if count is not None and 0 < count < 1 << 50 else None


def _highest(path: Path) -> str | None:
    """``0: 400Mhz`` lines, the one in use marked with ``*``."""
    clocks = [int(n) for n in re.findall(r"^[0-9]+: ([0-9]{1,5})M[Hh]z", tree.text(path, 4096), re.MULTILINE)]
    return f"{most} MHz" if (most := max(clocks, default=0)) else None

"""AMD's GPUs as the kernel driver amdgpu shows them in sysfs. Not run on hardware: recorded trees.

amdsmi is not asked: sysfs has what is needed, and amdsmi must match the installed ROCm to be of use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from phibench.core.nouns import Device
from phibench.probe.devices import Provider, pci
from phibench.probe.devices.visible import chosen
from phibench.probe.system import text_files
from phibench.probe.system.cpu import ROOT

GPUS = True


def devices(
    root: Path, _providers: Sequence[Provider] = (), environ: Mapping[str, str] | None = None
) -> tuple[Device, ...]:
    """``rocm:0``, ... as ROCm programs of this process see them.

    An integrated GPU has what the firmware set aside for it and what it may map besides (GTT). Where more is set aside
    than may be mapped (up to 96 GB on a Ryzen AI Max), that alone counts: it is not in the memory that the system sees,
    so nothing else can take it.
    """
    return tuple(_device(root, folder, f"rocm:{i}") for i, folder in enumerate(cards(root, environ)))


def cards(root: Path, environ: Mapping[str, str] | None = None) -> list[Path]:
    """Their folders. ROCR_VISIBLE_DEVICES leaves some, by number or UUID, and of these HIP_VISIBLE_DEVICES, else
    CUDA_VISIBLE_DEVICES (ROCm's documentation, "GPU isolation techniques"). A recorded tree was under no variables.

    The kernel's order is ROCm's (github.com/ollama/ollama/pull/7212).
    """
    environ = environ if environ is not None else os.environ if root == ROOT else {}
    found = [folder for folder, _ in pci.cards(root, "0x1002", frozenset({"amdgpu"}))]
    for words in (environ.get("ROCR_VISIBLE_DEVICES"),
                  environ.get("HIP_VISIBLE_DEVICES", environ.get("CUDA_VISIBLE_DEVICES"))):  # fmt: skip
        if words is not None:
            uuids = [f"GPU-{pci.word(folder / 'unique_id')}" for folder in found]
            found = [found[place] for place in chosen(words, uuids)]
    return found


def _device(root: Path, folder: Path, kind: str) -> Device:
    total, used, mapped = (_bytes(folder / f"mem_info_{k}") for k in ("vram_total", "vram_used", "gtt_total"))
    integrated = _is_integrated(folder)
    shared = integrated and (mapped or 0) >= (total or 0)
    memory = (total or 0) + (mapped or 0) or None if shared else total
    free = total - used if total is not None and used is not None and used <= total and not shared else None
    facts = {
        "pci": pci.identity(folder) or None,
        "chip": pci.listed(root, folder) or None,
        "integrated": "yes" if integrated else None,
        "power_cap": pci.watts(limit_uw := pci.sensor(folder, "power1_cap")),
        "clock_max": _highest(folder / "pp_dpm_sclk"),
        "memory_clock_max": _highest(folder / "pp_dpm_mclk"),
        "power_sensor": "yes" if pci.sensor(folder, "power1_average", "power1_input") is not None else None,
    }
    where = "is a part of the machine's" if shared else "was set aside by the firmware, the system does not see it"
    notes = (f"integrated: its memory {where}",) if integrated else ()
    return Device(
        kind=kind,
        name=pci.word(folder / "product_name") or f"AMD GPU {pci.identity(folder)}".strip(),
        memory_bytes=memory,
        free_bytes=free,
        shares_memory=shared,
        because="amdgpu reports no bus width, so no bandwidth follows from it",
        driver="amdgpu",
        power_limit_w=pci.limit_w(limit_uw),
        facts={key: value for key, value in facts.items() if value},
        notes=notes,
    )


def _is_integrated(folder: Path) -> bool:
    """amdgpu shows the northbridge's voltage (in1) for APUs only, and a power cap for cards and the Steam Deck's APU
    (hwmon_attributes_visible in its amdgpu_pm.c). Else the maker of the memory chips tells: an APU has none."""
    if pci.sensor(folder, "in1_input") is not None:
        return True
    if pci.sensor(folder, "power1_cap") is not None:
        return False
    return pci.word(folder / "mem_info_vram_vendor") in {"", "unknown"}


def _bytes(path: Path) -> int | None:
    count = text_files.number(path)
    return count if count is not None and 0 < count < 1 << 50 else None


def _highest(path: Path) -> str | None:
    """``0: 400Mhz`` lines, the one in use marked with ``*``."""
    clocks = [int(n) for n in re.findall(r"^[0-9]+: ([0-9]{1,5})M[Hh]z", text_files.text(path, 4096), re.MULTILINE)]
    return f"{most} MHz" if (most := max(clocks, default=0)) else None

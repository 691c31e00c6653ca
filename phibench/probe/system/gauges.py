"""What the system shows of its load, memory, heat and settings at one moment; None where it does not tell."""

from __future__ import annotations

import mmap
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from phibench.probe.system import cpu, kinds, processor, text_files, topology

_CPUS = "sys/devices/system/cpu"
# Zones and sensors of the processor itself; others, acpitz first of all, show the board or a constant.
_ZONE = re.compile(r"x86_pkg_temp|TCPU.*|(cpu|soc|CPU|SOC)\b.*|(cpu|soc)[-_0-9].*|(big|little)core.*")
_SENSOR = re.compile("coretemp|k10temp|zenpower|cpu_thermal")


def load(root: Path) -> float | None:
    """Load average of the last minute."""
    words = text_files.text(root / "proc/loadavg", 256).split()
    if words and re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", words[0]):
        return float(words[0])
    return round(os.getloadavg()[0], 2) if root == cpu.ROOT and hasattr(os, "getloadavg") else None


def ticks(root: Path) -> dict[str, int]:
    """``cpu user nice system idle iowait irq softirq steal guest ...``; guests are already in user."""
    words = text_files.text(root / "proc/stat", 4096).partition("\n")[0].split()
    counts = [text_files.integer(word) for word in words[1:9]]
    if words[:1] != ["cpu"] or len(counts) < 8:
        return {}
    known = [count for count in counts if count is not None and count >= 0]
    return {"cpu_ticks": sum(known), "steal_ticks": known[7]} if len(known) == 8 else {}


def stolen(before: dict[str, int], root: Path = cpu.ROOT) -> float | None:
    """Share of all cpu time that the host took since ``before``, which were :func:`ticks`; None where none went by."""
    after = ticks(root)
    total = after.get("cpu_ticks", 0) - before.get("cpu_ticks", 0)
    return round((after["steal_ticks"] - before.get("steal_ticks", 0)) / total, 4) if total > 0 else None


def paging(root: Path) -> dict[str, int | None]:
    """Bytes swapped in and bytes of files read again, since boot; major faults."""
    stat = text_files.counters(root / "proc/vmstat")
    if stat or root != cpu.ROOT or sys.platform == "linux":
        pages = {"swapped_in_bytes": stat.get("pswpin"), "refault_bytes": stat.get("workingset_refault_file")}
        counted = {key: None if count is None else count * mmap.PAGESIZE for key, count in pages.items()}
        return {**counted, "major_faults": stat.get("pgmajfault")}
    import psutil

    return {"swapped_in_bytes": psutil.swap_memory().sin}  # always 0 on Windows


def pressure(root: Path) -> dict[str, float | int]:
    """PSI: the share of 10 s in which some task waited, and µs since boot (Documentation/accounting/psi)."""
    found: dict[str, float | int] = {}
    for kind in ("cpu", "memory"):
        line = text_files.text(root / "proc/pressure" / kind, 256).partition("\n")[0]
        some = re.match(r"some avg10=([0-9]{1,3}\.[0-9]{2}) .*\btotal=([0-9]{1,19})$", line)
        if some:
            found[f"{kind}_pressure"] = min(1.0, round(float(some[1]) / 100, 4))
            found[f"{kind}_waited_us"] = int(some[2])
    return found


def throttles(root: Path) -> dict[str, int | None]:
    """How often, and how many ms, Intel's cores and packages slowed themselves down since boot; others do not tell.

    A package shows one counter under each of its cpus, so it is taken once. The time is the longest of all.
    """
    counts: dict[tuple[str, int], int] = {}
    times: list[int | None] = []
    for number in cpu.online(root):
        base = root / _CPUS / f"cpu{number}"
        package = text_files.number(base / "topology/physical_package_id") or 0
        for part, key in (("core", number), ("package", package)):
            count = text_files.number(base / f"thermal_throttle/{part}_throttle_count")
            if count is not None:
                counts[part, key] = max(count, counts.get((part, key), 0))
            times.append(text_files.number(base / f"thermal_throttle/{part}_throttle_total_time_ms"))
    known = [time for time in times if time is not None]
    return {
        "thermal_throttles": sum(counts.values()) if counts else None,
        "thermal_throttle_ms": max(known, default=None),
    }


def temperature_c(root: Path) -> float | None:
    """The hottest that the processor's own sensors show, °C."""
    files = [
        folder / file
        for parent, pattern, label, wanted, file in (
            ("thermal", "thermal_zone[0-9]{1,4}", "type", _ZONE, "temp"),
            ("hwmon", "hwmon[0-9]{1,4}", "name", _SENSOR, "temp1_input"),
        )
        for folder in _folders(root / "sys/class" / parent, pattern)
        if wanted.fullmatch(text_files.text(folder / label, 64).strip())
    ]
    found = [text_files.number(file) for file in files]
    known = [value for value in found if value is not None and 0 < value <= 150_000]  # m°C; 0 is a sensor that is off
    return max(known) / 1000 if known else None


def clock_hz(root: Path) -> float | None:
    """The mean clock of all cpus now; None where the system does not tell, as in most virtual machines."""
    shown = topology.shown(root, cpu.online(root))
    found = [kinds.hertz(root / _CPUS / f"cpu{number}/cpufreq/scaling_cur_freq") for number in shown]
    known = [clock for clock in found if clock]
    return sum(known) / len(known) if known else None


def settings(root: Path) -> dict[str, str | None]:
    """How fast the system lets the processor be, and by which driver."""
    cpus = cpu.online(root)
    driver = text_files.text(root / _CPUS / f"cpu{min(cpus)}/cpufreq/scaling_driver", 64)
    turbo = {True: "on", False: "off", None: None}[processor.turbo(root)]
    return {"frequency_driver": cpu.clean(driver) or None, **processor.settings(root, cpus), "turbo": turbo}


def total(counts: Iterable[int | None]) -> int | None:
    """The sum of what is known: the greatest alone would hide what a smaller counter gained."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _folders(folder: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from (entry for entry in folder.iterdir() if re.fullmatch(pattern, entry.name))
    except OSError:
        return

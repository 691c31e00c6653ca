"""What went on around a measurement: counters before and after, and what their differences say against it.

Checked and told, never changed: no governor is set, no process stopped.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from phibench import units
from phibench.probe import cgroup, cpu, tree

BUSY_S = 0.3  # 30 ticks of each cpu: steps of 3 % and less

# A difference above these marks a result. They are our choices, not laws of nature.
LIMITS = {
    "steal_share": 0.02,  # of all cpu time: the host gave it to another machine
    "swapped_in_bytes": 1 << 20,  # anything that swaps is measured on a disk; 1 MiB lets a sleeping daemon wake
    # File pages dropped and read again. A model that does not fit comes back at every token; up to 1.2 GiB was seen
    # while a file of 2.5 GB was opened on a machine with 20 GiB free that sets idle pages aside.
    "refault_bytes": 2 << 30,
    "throttled_periods": 0,  # every stop by a quota holds all threads up for the rest of 100 ms
    "thermal_throttles": 0,
    "busy_share": 0.25,  # just before the run: one core in four was busy with something else
}
_TEXTS: dict[str, Callable[[float], str]] = {
    "steal_share": lambda share: f"CPU steal {share:.0%} during the run: the host was busy",
    "swapped_in_bytes": lambda count: f"{units.gib(count)} swapped in during the run",
    "refault_bytes": lambda count: f"{units.gib(count)} of files dropped from memory and read again during the run",
    "throttled_periods": lambda count: f"a cgroup quota stopped the process {count:.0f} times during the run",
    "thermal_throttles": lambda _: "the processor slowed down because of heat during the run",
}
_TICKS = ("cpu_ticks", "steal_ticks")
_COUNTERS = ("swapped_in_bytes", "refault_bytes", "major_faults", "throttled_periods", "thermal_throttles")


def look(root: Path = cpu.ROOT, busy_s: float | None = None) -> dict[str, str]:
    """Counters since boot and states of now, whatever the system tells, as text.

    Watches for ``busy_s`` seconds (default BUSY_S, 0 for not at all) what others do, so nothing of ours may run.
    """
    seen: dict[str, str | int | float | None] = {
        "cpus": len(cpu.online(root)),
        "load_1m": _load(root),
        "busy_share": _busy_share(BUSY_S if busy_s is None else busy_s) if root == cpu.ROOT else None,
        **_ticks(root),
        **_paging(root),
        "throttled_periods": _most(cgroup.throttled(group) for group in cgroup.groups(root)),
        "thermal_throttles": _thermal(root),
        "governor": cpu.clean(tree.text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", 64)) or None,
        "power": _power() if root == cpu.ROOT else None,
        "instruction_sets": cpu.flags(root) or None,
    }
    return {key: str(value) for key, value in seen.items() if value is not None}


def oom_kills(root: Path = cpu.ROOT) -> int | None:
    """Processes that the kernel has ended for want of memory since boot; None where it does not count."""
    return tree.counters(root / "proc/vmstat").get("oom_kill")


def delta(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """What the counters gained, as text; a counter that one side lacks or that ran backwards is left out."""
    gained = {key: value for key in (*_COUNTERS, *_TICKS) if (value := _gain(before, after, key)) is not None}
    ticks = {key: gained.pop(key) for key in _TICKS if key in gained}
    if len(ticks) == 2 and ticks["cpu_ticks"] > 0:
        gained["steal_share"] = round(ticks["steal_ticks"] / ticks["cpu_ticks"], 4)
    return {key: f"{value:.10g}" for key, value in gained.items()}


def warnings(before: dict[str, str], after: dict[str, str]) -> tuple[str, ...]:
    """Reasons to doubt what was measured between the two looks, in words; empty when it was quiet."""
    gained = {key: float(value) for key, value in delta(before, after).items()}
    found = [say(gained[key]) for key, say in _TEXTS.items() if gained.get(key, 0) > LIMITS[key]]
    busy = _value(before, "busy_share")  # not the load average: that still holds our own last minute
    if busy is not None and busy > LIMITS["busy_share"]:
        found.append(f"other programs kept {busy:.0%} of the cpus busy just before the run")
    if "battery" in {before.get("power"), after.get("power")}:
        found.append("ran on battery")
    return tuple(found)


# ------------------------------------------------------------------------------------------------ readers


def _load(root: Path) -> float | None:
    words = tree.text(root / "proc/loadavg", 256).split()
    if words and re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", words[0]):
        return float(words[0])
    return round(os.getloadavg()[0], 2) if root == cpu.ROOT and hasattr(os, "getloadavg") else None


def _busy_share(seconds: float) -> float | None:
    if seconds <= 0:
        return None
    import psutil

    first = psutil.cpu_times()._asdict()
    time.sleep(seconds)
    return busy_share(first, psutil.cpu_times()._asdict())


def busy_share(first: dict[str, float], last: dict[str, float]) -> float | None:
    """Share of the time of all cpus that programs here took; None when the clocks did not move.

    psutil's names. Waiting for a disk leaves a cpu free, stolen time is told apart; guests are already in user.
    """
    gained = {name: max(0.0, last[name] - first[name]) for name in first if not name.startswith("guest")}
    total = sum(gained.values())
    free = sum(gained.get(name, 0.0) for name in ("idle", "iowait", "steal"))
    return round(1 - free / total, 4) if total > 0 else None


def _ticks(root: Path) -> dict[str, int]:
    """``cpu user nice system idle iowait irq softirq steal guest ...``; guests are already in user."""
    words = tree.text(root / "proc/stat", 4096).partition("\n")[0].split()
    ticks = [tree.integer(word) for word in words[1:9]]
    if words[:1] != ["cpu"] or len(ticks) < 8:
        return {}
    known = [tick for tick in ticks if tick is not None]
    return {"cpu_ticks": sum(known), "steal_ticks": known[7]} if len(known) == 8 else {}


def _paging(root: Path) -> dict[str, int | None]:
    stat = tree.counters(root / "proc/vmstat")
    if stat or root != cpu.ROOT or sys.platform == "linux":
        pages = {"swapped_in_bytes": stat.get("pswpin"), "refault_bytes": stat.get("workingset_refault_file")}
        counted = {key: None if count is None else count * mmap.PAGESIZE for key, count in pages.items()}
        return {**counted, "major_faults": stat.get("pgmajfault")}
    import psutil

    return {"swapped_in_bytes": psutil.swap_memory().sin}  # always 0 on Windows


def _thermal(root: Path) -> int | None:
    """Intel counts how often each core and package slowed itself down; others do not tell."""
    folders = (root / f"sys/devices/system/cpu/cpu{n}/thermal_throttle" for n in cpu.online(root))
    files = (folder / f"{part}_throttle_count" for folder in folders for part in ("core", "package"))
    return _most(tree.number(file) for file in files)


def _power() -> str | None:
    import psutil

    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def _most(counts: Iterable[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def _value(look: dict[str, str], key: str) -> float | None:
    try:
        value = float(look[key])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _gain(before: dict[str, str], after: dict[str, str], key: str) -> float | None:
    first, last = _value(before, key), _value(after, key)
    return last - first if first is not None and last is not None and last >= first else None

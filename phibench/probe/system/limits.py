"""What this process may really use: the machine, its affinity and its cgroups together."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from phibench.core import units
from phibench.core.nouns import Limits
from phibench.probe.system import cgroup, cpu, text_files


def limits(root: Path = cpu.ROOT) -> Limits:
    """``cpus`` may be a fraction (a quota), ``threads`` is how many a CPU engine should start (at least 1).

    ``free_bytes`` can be taken now without swapping. Files that are missing or nonsense count as no limit.
    """
    online = cpu.online(root)
    allowed = affinity(root) & online or online
    groups = cgroup.groups(root)
    quotas = [quota for group in groups if (quota := cgroup.cpus(group)) is not None]
    cpus = min(float(len(allowed)), *quotas, math.inf)
    fast = cpu.fast_cores(root, allowed)
    total, available = host_memory(root)
    ceilings = [c for group in groups for c in cgroup.ceilings(group) if c.limit_bytes < total]
    slower = _slow_cores(fast, cpu.cores(root, allowed))
    of_cpus, of_memory = _of_cpus(len(online), len(allowed), cpus), _of_memory(total, ceilings)
    return Limits(
        cpus=cpus,
        threads=max(1, min(fast, math.ceil(cpus))),
        memory_bytes=min([total, *(c.limit_bytes for c in ceilings)]),
        free_bytes=min([available, *(c.free_bytes for c in ceilings)]),
        swap_bytes=swap(root, groups),
        notes=(*of_cpus, *slower, *of_memory),
        restrictions=(*of_cpus, *of_memory),
    )


def affinity(root: Path = cpu.ROOT) -> frozenset[int]:
    """Logical cpus that the scheduler may give to this process; empty when nobody tells."""
    if root != cpu.ROOT:
        found = re.search(r"^Cpus_allowed_list:(.*)$", text_files.text(root / "proc/self/status"), re.MULTILINE)
        return text_files.cpu_list(found[1]) if found else frozenset()
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    import psutil

    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        if hasattr(process, "cpu_affinity"):  # Windows, FreeBSD
            return frozenset(process.cpu_affinity() or ())
    return frozenset()


def host_memory(root: Path = cpu.ROOT) -> tuple[int, int]:
    """Bytes of the whole machine, and of these what can be had without swapping."""
    info = text_files.counters(root / "proc/meminfo")
    total = info.get("MemTotal", 0)
    if total > 0:
        # MemAvailable came with Linux 3.14; before it, MemFree is a safe underestimate.
        return total, min(total, info.get("MemAvailable", info.get("MemFree", 0)))
    import psutil

    try:
        memory = psutil.virtual_memory()
    except (OSError, psutil.Error):  # a sandbox without /proc
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return int(memory.total), int(memory.available)


def swap(root: Path, groups: Sequence[Path] | None = None) -> int | None:
    """Bytes of swap that this process could still be given; told, never counted on."""
    info = text_files.counters(root / "proc/meminfo")
    free = info.get("SwapFree")
    if free is None and root == cpu.ROOT:
        import psutil

        with contextlib.suppress(psutil.Error, OSError, RuntimeError):
            free = int(psutil.swap_memory().free)
    if free is None:
        return None
    allowed = [cgroup.swap(group) for group in (cgroup.groups(root) if groups is None else groups)]
    return max(0, min([free, *(count for count in allowed if count is not None)]))


def _slow_cores(fast: int, cores: int) -> list[str]:
    return [f"threads count the {fast} performance cores of {cores} cores"] if fast < cores else []


def _of_cpus(online: int, allowed: int, cpus: float) -> list[str]:
    notes = []
    if allowed < online:
        notes.append(f"affinity allows {allowed} of {online} cpus")
    if cpus < allowed:
        notes.append(f"cgroup limits cpus to {cpus:g}")
    return notes


def _of_memory(total: int, ceilings: list[cgroup.Ceiling]) -> list[str]:
    hard = min((c.limit_bytes for c in ceilings if c.hard), default=total)
    soft = min((c.limit_bytes for c in ceilings if not c.hard), default=total)
    notes = [f"cgroup limits memory to {units.gib(hard)}"] if hard < total else []
    if soft < hard:
        notes.append(f"cgroup slows this process above {units.gib(soft)} (memory.high)")
    return notes

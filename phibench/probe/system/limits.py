"""What this process may really use: the machine, its affinity and its cgroups together."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

from phibench.core import units
from phibench.core.nouns import Held, Limits
from phibench.probe.system import cgroup, cpu, kinds, memory, numa, text_files
from phibench.probe.system.memory import host_memory


def limits(root: Path = cpu.ROOT) -> Limits:
    """``cpus`` may be a fraction (a quota), ``threads`` is how many a CPU engine should start (at least 1).

    ``free_bytes`` can be taken now without swapping. Files that are missing or nonsense count as no limit.
    """
    online, allowed = cpu.usable(root)
    groups = cgroup.groups(root)
    quotas = [quota for group in groups if (quota := cgroup.cpus(group)) is not None]
    cpus = min(float(len(allowed)), *quotas, math.inf)
    worth = cpu.worth(root, allowed)
    total, available = host_memory(root)
    ceilings = [c for group in groups for c in cgroup.ceilings(group) if c.limit_bytes < total]
    nodes_bytes, nodes_free = numa.memory(root) or (total, None)
    mapped, unmapped = memory.address_space(root) or (total, total)
    usable = min([total - memory.huge_bytes(root), nodes_bytes, mapped, *(c.limit_bytes for c in ceilings)])
    here = min(available, usable if nodes_free is None else nodes_free)
    free = min([here, usable, unmapped, *(c.free_bytes for c in ceilings)])
    held = memory.held(root) if free == available else ()  # else the limit decides, and what it leaves free
    of_cpus, of_memory = _of_cpus(len(online), len(allowed), cpus), _of_memory(total, nodes_bytes, mapped, ceilings)
    return Limits(
        cpus=cpus,
        threads=kinds.threads(worth, math.ceil(cpus)),
        memory_bytes=usable,
        free_bytes=free,
        swap_bytes=swap(root, groups),
        held=held,
        notes=(*of_cpus, *_slow_cores(kinds.threads(worth), len(worth)), *of_memory, *_counted(held)),
        restrictions=(*of_cpus, *of_memory),
    )


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


def _of_memory(total: int, nodes_bytes: int, mapped: int, ceilings: list[cgroup.Ceiling]) -> list[str]:
    hard = min((c.limit_bytes for c in ceilings if c.hard), default=total)
    soft = min((c.limit_bytes for c in ceilings if not c.hard), default=total)
    notes = [f"cgroup limits memory to {units.gib(hard)}"] if hard < total else []
    if soft < hard:
        notes.append(f"cgroup slows this process above {units.gib(soft)} (memory.high)")
    if nodes_bytes < total:
        notes.append(f"cpuset limits memory to {units.gib(nodes_bytes)}")
    if mapped < total:
        notes.append(f"ulimit -v limits memory to {units.gib(mapped)}")
    return notes


def _counted(held: Sequence[Held]) -> list[str]:
    counted = sum(one.free_bytes for one in held)
    return [f"{units.gib(counted)} of the free memory is in ZFS's cache, which gives way"] if counted else []

"""Control groups, version 1, 2 or both at once: what containers, batch systems and systemd allow a process.

A limit of any ancestor binds, and the path must come from ``/proc/self``: containers see other mounts than hosts.
The files of both versions have different names, so a group is read without asking which version it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from phibench.core.nouns import Noun
from phibench.probe.system import text_files


class Ceiling(Noun, frozen=True, kw_only=True):
    """One memory limit of one group; ``free_bytes`` is what the group may still take."""

    limit_bytes: int
    free_bytes: int
    hard: bool  # False: memory.high, above which the kernel slows the process and takes pages back


def groups(root: Path) -> tuple[Path, ...]:
    """Folders of the groups that this process is in, each followed by its ancestors up to the mount."""
    mounts = tuple(_mounts(root))
    found: dict[Path, None] = {}
    for line in text_files.text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        hierarchy = [m for m in mounts if m.controllers & (set(controllers.split(",")) if controllers else {""})]
        # A namespace may show a path that no mount contains; the group is then the top of the mount.
        inside = [m for m in hierarchy if m.holds(path)] or hierarchy[:1]
        for mount in inside:
            found.update(dict.fromkeys(mount.chain(root, path)))
    return tuple(found)


class _Mount(Noun, frozen=True, kw_only=True):
    controllers: frozenset[str]  # {""}: version 2
    top: PurePosixPath  # the group that is mounted
    at: PurePosixPath

    def holds(self, path: str) -> bool:
        return ".." not in PurePosixPath(path).parts and PurePosixPath(path).is_relative_to(self.top)

    def chain(self, root: Path, path: str) -> Iterator[Path]:
        base = root / str(self.at).lstrip("/")
        below = PurePosixPath(path).relative_to(self.top) if self.holds(path) else PurePosixPath()
        for folder in (below, *below.parents):
            yield base / folder


def _mounts(root: Path) -> Iterator[_Mount]:
    """``36 35 0:30 TOP AT options tags - cgroup source rw,cpu,cpuacct`` (proc_pid_mountinfo(5))."""
    for line in text_files.text(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        where, what = left.split(" "), right.split(" ")
        if len(where) < 6 or len(what) < 3 or what[0] not in {"cgroup", "cgroup2"}:
            continue
        if ".." in PurePosixPath(where[4]).parts:
            continue
        yield _Mount(
            controllers=frozenset({""} if what[0] == "cgroup2" else what[2].split(",")),
            top=PurePosixPath(_unescape(where[3])),
            at=PurePosixPath(_unescape(where[4])),
        )


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def cpus(group: Path) -> float | None:
    """The quota in cpus, or None: version 2 ``cpu.max`` "quota period" in µs, version 1 two files, -1 for none."""
    words = text_files.text(group / "cpu.max", 64).split()
    if len(words) == 2:
        quota, period = text_files.integer(words[0]), text_files.integer(words[1])
    else:
        quota, period = text_files.number(group / "cpu.cfs_quota_us"), text_files.number(group / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 and period > 0 else None


def ceilings(group: Path) -> tuple[Ceiling, ...]:
    """Memory limits of a group: ``memory.max`` and ``memory.high``, or ``memory.limit_in_bytes`` and, in version 1, the
    least of all its ancestors (``hierarchical_memory_limit``), which a container may not see.

    Pages of the file cache count as used by the group, but the kernel drops them before it refuses memory; a model
    mapped from a file is such pages. So what is free is limit - usage + inactive_file + active_file.
    """
    limits = {file: text_files.number(group / file) for file in ("memory.max", "memory.limit_in_bytes", "memory.high")}
    used = text_files.number(group / "memory.current")
    used = text_files.number(group / "memory.usage_in_bytes") if used is None else used
    stat = text_files.counters(group / "memory.stat")
    limits["hierarchical_memory_limit"] = stat.get("hierarchical_memory_limit")
    # Version 1 counts children only under total_*; version 2 always does.
    cache = sum(stat.get(f"total_{kind}", stat.get(kind, 0)) for kind in ("inactive_file", "active_file"))
    held = max(0, (used or 0) - cache)
    return tuple(
        Ceiling(limit_bytes=limit, free_bytes=max(0, limit - held), hard=file != "memory.high")
        for file, limit in limits.items()
        if limit is not None and limit > 0
    )


def swap(group: Path) -> int | None:
    """Bytes that the group may still swap out: version 2 ``memory.swap.max``; version 1 limits memory and swap
    together, of its ancestors too, and what is left of both is the most that swap can take."""
    most, used = text_files.number(group / "memory.swap.max"), text_files.number(group / "memory.swap.current")
    if most is None:
        own = text_files.number(group / "memory.memsw.limit_in_bytes")
        above = text_files.counters(group / "memory.stat").get("hierarchical_memsw_limit")
        most = min((limit for limit in (own, above) if limit is not None and limit >= 0), default=None)
        files = ("memory.memsw.usage_in_bytes", "memory.usage_in_bytes")
        used = next((n for file in files if (n := text_files.number(group / file)) is not None), None)
    return None if most is None or most < 0 else max(0, most - (used or 0))


def cpuset(groups: Iterable[Path], what: Literal["cpus", "mems"]) -> frozenset[int]:
    """Cpus or NUMA nodes of the innermost group that tells; empty where none does.

    Only the innermost counts: an ancestor's list lacks what a partition below it was given.
    """
    files = (f"cpuset.{what}.effective", f"cpuset.effective_{what}", f"cpuset.{what}")
    told = (text_files.cpu_list(text_files.text(group / file, 1 << 14)) for group in groups for file in files)
    return next(filter(None, told), frozenset())


def throttled(group: Path) -> int | None:
    """Periods in which the quota stopped the group, since it was made."""
    return text_files.counters(group / "cpu.stat").get("nr_throttled")


def oom_kills(group: Path) -> int | None:
    """Processes of the group that were ended because it, or the machine, had no memory left."""
    for file in ("memory.events", "memory.oom_control"):
        if (count := text_files.counters(group / file).get("oom_kill")) is not None:
            return count
    return None

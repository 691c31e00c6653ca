"""Memory of the machine: how much, what of it can be had, and what holds it that is no program."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from phibench.core.nouns import Held
from phibench.probe.system import text_files

_WORTH_BYTES = 1 << 30  # what holds less decides for no Phi
_EVICTABLE = ("mru_evictable_data", "mru_evictable_metadata", "mfu_evictable_data", "mfu_evictable_metadata")


def host_memory(root: Path) -> tuple[int, int]:
    """Bytes of the whole machine, and of these what can be had without swapping."""
    info = text_files.counters(root / "proc/meminfo")
    total = info.get("MemTotal", 0)
    if total > 0:
        zfs = _zfs(root, info)
        return total, min(total, _available(root, info) + (zfs.free_bytes if zfs else 0))
    import psutil

    try:
        memory = psutil.virtual_memory()
    except (OSError, psutil.Error):  # a sandbox without /proc
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return int(memory.total), int(memory.available)


def huge_bytes(root: Path) -> int:
    """Set aside for huge pages, which no model is loaded into; surplus ones go back by themselves."""
    info = text_files.counters(root / "proc/meminfo")
    size = info.get("Hugepagesize", 0)
    of_all_sizes = info.get("Hugetlb")
    if of_all_sizes is None:  # before Linux 4.18 meminfo tells of the default size alone (collectd issue 2914)
        of_all_sizes = max(info.get("HugePages_Total", 0) * size, _huge_of_all_sizes(root))
    kept = of_all_sizes - info.get("HugePages_Surp", 0) * size
    return kept if 0 < kept < info.get("MemTotal", 0) else 0


def address_space(root: Path) -> tuple[int, int] | None:
    """Bytes that a process may map, and what this one has left of them (``ulimit -v``, which some batch systems set:
    dask/distributed pull request 2665); None: as many as there are."""
    found = re.search(r"^Max address space +([0-9]{1,19}) ", text_files.text(root / "proc/self/limits"), re.MULTILINE)
    if not found:
        return None
    most, mapped = int(found[1]), text_files.counters(root / "proc/self/status").get("VmSize", 0)
    return most, max(0, most - mapped)


def _huge_of_all_sizes(root: Path) -> int:
    folders = (root / "sys/kernel/mm/hugepages").glob("hugepages-*kB")
    sizes = (
        (re.fullmatch(r"hugepages-([0-9]{1,12})kB", f.name), text_files.number(f / "nr_hugepages")) for f in folders
    )
    return sum(int(size[1]) * 1024 * count for size, count in sizes if size and count and count > 0)


def held(root: Path) -> tuple[Held, ...]:
    """What holds a GiB or more though no program does: ending programs does not free it."""
    return tuple(one for one in _holders(root) if one.bytes >= _WORTH_BYTES)


def _holders(root: Path) -> Iterator[Held]:
    info = text_files.counters(root / "proc/meminfo")
    if zfs := _zfs(root, info):
        yield zfs
    yield Held(kind="huge_pages", bytes=huge_bytes(root))
    yield Held(kind="files_in_memory", bytes=min(info.get("Shmem", 0), info.get("MemTotal", 0)))
    yield Held(kind="balloon", bytes=min(info.get("Balloon", 0), info.get("MemTotal", 0)))  # since Linux 6.16


def _available(root: Path, info: dict[str, int]) -> int:
    """MemAvailable came with Linux 3.14; before it, half of the cached files is the least that its formula counts.

    More than there is belongs to the host of a container (btop issue 473), of which MemFree tells what is left. Older
    lxcfs (2.x) gives MemFree under both names, though cached files give way (lxcfs issue 175).
    """
    free, told = info.get("MemFree", 0), info.get("MemAvailable")
    if told is None:
        return free + (info.get("Active(file)", 0) + info.get("Inactive(file)", 0)) // 2
    if told == free and _is_lxcfs(root):
        return free + max(0, info.get("Cached", 0) - info.get("Shmem", 0))
    return told if told <= info.get("MemTotal", 0) else free


def _is_lxcfs(root: Path) -> bool:
    """Whether /proc/meminfo is of a container, not of the machine."""
    mounts = text_files.text(root / "proc/self/mountinfo")
    return re.search(r" /proc/meminfo .* - fuse\.lxcfs ", mounts) is not None


def _zfs(root: Path, info: dict[str, int]) -> Held | None:
    """ZFS's cache (ARC) is no page cache, so MemAvailable leaves it out (openzfs issue 10255).

    In a container it is the host's, while lxcfs tells of the container's memory (komodo pull request 1635): then it
    is no part of that memory, and could not be where more is free than it leaves.
    """
    lines = re.findall(
        r"^(\w+) +[0-9] +([0-9]{1,19})$", text_files.text(root / "proc/spl/kstat/zfs/arcstats"), re.MULTILINE | re.ASCII
    )
    told = {name: int(value) for name, value in lines}
    size, least = told.get("size", 0), told.get("c_min", 0)
    taken = info.get("MemTotal", 0) - _available(root, info)
    if not 0 < size <= taken or _is_lxcfs(root):
        return None
    evictable = sum(told.get(part, 0) for part in _EVICTABLE)
    return Held(kind="zfs_cache", bytes=size, free_bytes=max(0, min(evictable, size - least)))

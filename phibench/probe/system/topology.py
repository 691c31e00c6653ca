"""Numbers of cpus, and which of them share a core."""

from __future__ import annotations

import os
import re
from pathlib import Path

from phibench.probe.system import text_files

_CPUS = "sys/devices/system/cpu"
_MOST_THREADS = 4  # of an x86 core (Xeon Phi); POWER has 8


def agree(online: frozenset[int], allowed: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Cpus that run and of these what the process may use, from two lists that may number them differently.

    In a container lxcfs counts ``online`` from 0, while the scheduler's list and the folders of sysfs keep the numbers
    of the host. Lists that cross are of two such worlds: then as many count as both grant, by the host's numbers. A
    longer list of the scheduler names cpus that are offline, too.
    """
    together = allowed & online
    from_zero = online == frozenset(range(len(online)))
    if not allowed or online <= allowed or allowed <= online or not from_zero:
        return online, together or online
    if len(allowed) < len(online):  # narrower than the container: the numbers of the others are not known
        return online, allowed
    mine = frozenset(sorted(allowed)[: len(online)])
    return mine, mine


def cores(root: Path, cpus: frozenset[int]) -> frozenset[frozenset[int]]:
    """``cpus`` by core; where no topology is told, each is one."""
    told = {cpu: _siblings(root, cpu) for cpu in shown(root, cpus)}
    if max(map(len, told.values()), default=0) > _MOST_THREADS and _is_x86(root):
        told = {}  # what a virtual machine was told to show (-smp cores=1,threads=8)
    elif not any(told.values()):
        told = _from_cpuinfo(root)
    return frozenset((told.get(cpu, frozenset()) & cpus) | {cpu} for cpu in cpus)


def _is_x86(root: Path) -> bool:
    info = text_files.text(root / "proc/cpuinfo", 4096)
    return re.search(r"^vendor_id\s*:\s*(GenuineIntel|AuthenticAMD|HygonGenuine|CentaurHauls)", info, re.M) is not None


def shown(root: Path, cpus: frozenset[int]) -> frozenset[int]:
    """Of ``cpus`` those that have a folder in sysfs: to look for files of ten thousand that have none takes seconds."""
    try:
        names = [entry.name for entry in os.scandir(root / _CPUS)]
    except OSError:
        return frozenset()
    return frozenset(int(name[3:]) for name in names if re.fullmatch(r"cpu[0-9]{1,4}", name, re.ASCII)) & cpus


def _siblings(root: Path, cpu: int) -> frozenset[int]:
    folder = root / _CPUS / f"cpu{cpu}/topology"
    words = text_files.text(folder / "thread_siblings_list", 4096) or text_files.text(folder / "core_cpus_list", 4096)
    return text_files.cpu_list(words)


def _from_cpuinfo(root: Path) -> dict[int, frozenset[int]]:
    """x86 where sysfs is hidden (WSL1, sandboxes): ``physical id`` and ``core id``.

    Only if ``siblings`` says that cpus share cores: some virtual machines give all the same id.
    """
    keys = {"processor", "physical id", "core id", "siblings", "cpu cores"}
    places: dict[int, tuple[int, int]] = {}
    for entry in text_files.text(root / "proc/cpuinfo").split("\n\n"):
        lines = re.findall(r"^([a-z ]+?)\s*:\s*([0-9]{1,4})\s*$", entry, re.MULTILINE | re.ASCII)
        told = {key: int(value) for key, value in lines if key in keys}
        if told.keys() == keys and told["siblings"] > told["cpu cores"]:
            places[told["processor"]] = (told["physical id"], told["core id"])
    together: dict[tuple[int, int], set[int]] = {}
    for cpu, place in places.items():
        together.setdefault(place, set()).add(cpu)
    return {cpu: frozenset(together[place]) for cpu, place in places.items()}

"""NUMA nodes: where memory lies, which cpus are near it, and what of both this process may use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from phibench.core.nouns import Node, Noun
from phibench.probe.system import cgroup, cpu, text_files, topology

_NODES = "sys/devices/system/node"
_MOST_NODES = 1024  # of Linux (NODES_SHIFT)
_LOCAL = 10  # the distance of a node to itself (ACPI, SLIT)


class _Told(Noun, frozen=True, kw_only=True):
    """One node as sysfs has it."""

    number: int
    cpus: frozenset[int]
    memory_bytes: int | None
    free_bytes: int | None  # free, or files that can be dropped
    near: frozenset[int]  # other nodes that are no farther than itself


def nodes(root: Path = cpu.ROOT) -> tuple[Node, ...]:
    """Nodes with cpus or memory. Those at one place are one, however many the kernel was told to make of it
    (``numa=fake``): they show the same cpus, or one shows none and is no farther away."""
    places: list[list[_Told]] = []
    for one in sorted(_told(root), key=lambda node: (not node.cpus, node.number)):
        place = next((place for place in places if _is_at(one, place[0])), None)
        if place is None:
            places.append([one])
        else:
            place.append(one)
    may_run, may_hold = cpu.affinity(root), _allowed(root)
    return tuple(_node(root, place, may_run, may_hold) for place in places)


def memory(root: Path) -> tuple[int, int | None] | None:
    """Bytes on the nodes that this process may use, and what of them can be had; None where it may use all."""
    numbers, may_hold = _numbers(root), _allowed(root)
    if not may_hold or may_hold == numbers:
        return None
    told = tuple(_told(root))
    mine = [node for node in told if node.number in may_hold]
    sizes = [node.memory_bytes for node in mine if node.memory_bytes is not None]
    if len(mine) == len(told) or len(sizes) < len(mine) or not sum(sizes):
        return None
    free = [node.free_bytes for node in mine if node.free_bytes is not None]
    return sum(sizes), sum(free) if len(free) == len(mine) else None


def _is_at(one: _Told, place: _Told) -> bool:
    if one.cpus:
        return one.cpus == place.cpus
    return bool(place.cpus) and place.number in one.near


def _node(root: Path, place: list[_Told], may_run: frozenset[int], may_hold: frozenset[int]) -> Node:
    sizes = [one.memory_bytes for one in place if one.memory_bytes is not None]
    numbers = frozenset(one.number for one in place)
    cpus = place[0].cpus
    return Node(
        numbers=tuple(sorted(numbers)),
        cpus=len(cpus),
        memory_bytes=sum(sizes) if sizes else None,
        socket=_socket(root, cpus),
        runs=bool(cpus & may_run) if may_run else bool(cpus),
        holds=bool(numbers & may_hold) or not may_hold,
    )


def _socket(root: Path, cpus: frozenset[int]) -> int | None:
    """Of all these cpus, where the system tells one."""
    shown = topology.shown(root, cpus)
    found = {text_files.number(root / f"sys/devices/system/cpu/cpu{one}/topology/physical_package_id") for one in shown}
    socket = found.pop() if len(found) == 1 and shown == cpus else None
    return socket if socket is not None and socket >= 0 else None


def _allowed(root: Path) -> frozenset[int]:
    """Nodes whose memory this process may use; empty when nobody tells, or names none that is there."""
    found = re.search(r"^Mems_allowed_list:(.*)$", text_files.text(root / "proc/self/status"), re.MULTILINE)
    listed = text_files.cpu_list(found[1]) if found else frozenset()
    cpuset = cgroup.cpuset(cgroup.groups(root), "mems") if root != cpu.ROOT else listed  # the kernel knows both
    return (listed & cpuset or listed or cpuset) & _numbers(root)


def _numbers(root: Path) -> frozenset[int]:
    listed = text_files.cpu_list(text_files.text(root / _NODES / "online", 4096))
    return frozenset(number for number in listed if number < _MOST_NODES)


def _told(root: Path) -> Iterator[_Told]:
    numbers = _numbers(root)
    have = text_files.text(root / _NODES / "has_memory", 4096)
    for number in numbers:
        folder = root / _NODES / f"node{number}"
        lines = re.findall(r"^Node +[0-9]+ +([\w()]+): +([0-9]{1,15}) kB$",
                           text_files.text(folder / "meminfo"), re.MULTILINE | re.ASCII)  # fmt: skip
        info = {name: int(value) * 1024 for name, value in lines}
        size = info.get("MemTotal")
        if size is None and have.strip() and number not in text_files.cpu_list(have):
            size = 0
        cpus = text_files.cpu_list(text_files.text(folder / "cpulist", 4096))
        if not cpus and size == 0:
            continue
        files = info.get("Active(file)", 0) + info.get("Inactive(file)", 0)
        yield _Told(
            number=number,
            cpus=cpus,
            memory_bytes=size,
            free_bytes=info["MemFree"] + files if "MemFree" in info else None,
            near=_near(folder, numbers),
        )


def _near(folder: Path, numbers: frozenset[int]) -> frozenset[int]:
    row = [text_files.integer(word) for word in text_files.text(folder / "distance", 1 << 14).split()]
    told = zip(sorted(numbers), row, strict=False) if len(row) == len(numbers) else ()
    return frozenset(number for number, distance in told if distance is not None and distance <= _LOCAL)

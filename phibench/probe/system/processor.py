"""What the processor is made of and how it is set: cores, caches, NUMA, instruction sets, governor, turbo."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

from phibench.core.nouns import Cache, Processor
from phibench.probe.system import arm, cpu, host, kinds, numa, sysctl, text_files, topology, windows

_CPUS = "sys/devices/system/cpu"
# Instruction sets that make a difference to inference engines, as the kernels of Linux call them.
_MATTERS = re.compile(
    r"avx2|avx_vnni\w*|avx512f|avx512bw|avx512_vnni|avx512_bf16|avx512_fp16|avx10\w*|amx_\w+|fma|f16c"
    r"|asimd|asimddp|asimdhp|i8mm|bf16|sve|sve2|sme|sme2"
)
_CACHE_KINDS: dict[str, Literal["data", "instruction", "unified"]] = {
    "Data": "data", "Instruction": "instruction", "Unified": "unified"
}  # fmt: skip


def processor(root: Path = cpu.ROOT) -> Processor:
    """Never raises; what the system does not say is None or empty. Windows and macOS: not run on hardware."""
    cpus, nodes = cpu.online(root), numa.nodes(root)
    cores = cpu.cores(root, cpus)
    fast = max(1, min(cpu.fast_cores(root, cpus), cores))
    return Processor(
        vendor=_vendor(root),
        sockets=_sockets(root, cpus),
        performance_cores=fast,
        efficiency_cores=cores - fast or None,
        instruction_sets=tuple(filter(_MATTERS.fullmatch, cpu.flags(root).split())),
        caches=caches(root, cpus),
        numa_nodes=sum(node.cpus > 0 for node in nodes) or None,  # memory alone (CXL, HBM) is no place to run
        nodes=nodes if len(nodes) > 1 else (),
        turbo=turbo(root),
        **settings(root, cpus),
        max_hz=kinds.max_hz(root, cpus),
        huge_pages=_chosen(text_files.text(root / "sys/kernel/mm/transparent_hugepage/enabled", 128)),
        hypervisor=host.hypervisor(root),
        container=host.container(root),
        emulated=host.emulated(root),
    )


def caches(root: Path, cpus: frozenset[int]) -> tuple[Cache, ...]:
    """Every cache once, however many cpus share it; equal ones together, small levels first."""
    seen: set[tuple[int, str, int, frozenset[int]]] = set()
    for number in topology.shown(root, cpus):
        for index in range(8):
            folder = root / _CPUS / f"cpu{number}/cache/index{index}"
            level, size = text_files.number(folder / "level"), text_files.text(folder / "size", 64)
            kilobytes = re.fullmatch(r"([0-9]{1,9})K\s*", size)
            if level is None:
                break
            if kilobytes and 1 <= level <= 9:
                shared = text_files.cpu_list(text_files.text(folder / "shared_cpu_list", 4096)) or frozenset({number})
                seen.add((level, text_files.text(folder / "type", 64).strip(), int(kilobytes[1]) << 10, shared & cpus))
    if not seen and root == cpu.ROOT:
        return windows.caches()
    equal = Counter((level, _CACHE_KINDS.get(kind, "unified"), size) for level, kind, size, _ in seen)
    return tuple(
        Cache(level=level, kind=kind, bytes=size, count=count) for (level, kind, size), count in sorted(equal.items())
    )


def settings(root: Path, cpus: frozenset[int]) -> dict[str, str | None]:
    """How fast the system lets it be; the first of ``cpus`` speaks for all: 0 may be offline, or another's."""
    first = f"{_CPUS}/cpu{min(cpus)}/cpufreq"
    files = {"governor": f"{first}/scaling_governor", "energy_preference": f"{first}/energy_performance_preference",
             "platform_profile": "sys/firmware/acpi/platform_profile"}  # fmt: skip
    return {name: cpu.clean(text_files.text(root / file, 64)) or None for name, file in files.items()}


def turbo(root: Path) -> bool | None:
    """Whether the clock may go above its base: intel_pstate's no_turbo, else cpufreq's boost, of all or the first."""
    for file, on in (("intel_pstate/no_turbo", 0), ("cpufreq/boost", 1), ("cpu0/cpufreq/boost", 1)):
        if (said := text_files.number(root / _CPUS / file)) in (0, 1):
            return said == on
    return None


def _vendor(root: Path) -> str:
    info = text_files.text(root / "proc/cpuinfo", 1 << 16)
    found = re.search(r"^vendor_id[ \t]*:[ \t]*(\S.*)$", info, re.MULTILINE)
    text = cpu.clean(found[1]) if found else ""
    if not text and root == cpu.ROOT and sys.platform == "darwin":
        return "Apple" if sysctl.number("hw.optional.arm64") == 1 else "GenuineIntel"
    return {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(text, text)


def _sockets(root: Path, cpus: frozenset[int]) -> int | None:
    """None where clusters of a board are told as sockets (util-linux issue 1207): sockets of a server are alike."""
    cores, places = arm.cores(root), dict[int, set[str]]()
    for number in topology.shown(root, cpus):
        place = text_files.number(root / _CPUS / f"cpu{number}/topology/physical_package_id")
        if place is not None and place >= 0:
            places.setdefault(place, set()).update([cores[number].name] if number in cores else [])
    first = next(iter(places.values()), set())
    return len(places) or None if all(names == first for names in places.values()) else None


def _chosen(words: str) -> str | None:
    """``always [madvise] never`` is madvise."""
    found = re.search(r"\[([a-z]{1,20})\]", words)
    return found[1] if found else None

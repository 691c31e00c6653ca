"""What Linux shows of a machine: recorded trees of /proc and /sys."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import trees
import trees_gpu
import trees_machine
import trees_power
from mutate import Tree

from phibench import probe
from phibench.core.nouns import Conditions, Machine
from phibench.machine import data_sheet, doctor
from phibench.meters.sources import battery, hwmon, ina3221, rapl
from phibench.probe import conditions
from phibench.probe.energy import sources
from phibench.probe.system import smaps
from readers.oracles import Reader, follows, noun, told

_METERS = {"battery": battery, "hwmon": hwmon, "ina3221": ina3221, "rapl": rapl}
_MEMORY = float(psutil.virtual_memory().total)  # of this machine, which is taken where a tree tells none
_CPUS = os.cpu_count() or 1
_KIB, _K = 1024.0, 1000.0
_SMALL = trees.x86(cores=2, smt=2)


_NODE = "sys/devices/system/node"
_HELD = {  # memory that no program holds, and nodes that firmware makes up
    "proc/meminfo": "MemTotal:       33554432 kB\nMemFree:         1048576 kB\nMemAvailable:    8388608 kB\n"
    "Shmem:           2097152 kB\nHugePages_Total:    1024\nHugePages_Surp:        0\nHugepagesize:       2048 kB\n"
    "Hugetlb:         2097152 kB\nBalloon:         1048576 kB\n",
    "proc/spl/kstat/zfs/arcstats": "13 1 0x01 123 33456 5 9\nname                            type data\n"
    "size                            4    17179869184\nc_min                           4    1073741824\n"
    "mru_evictable_data              4    8589934592\nmfu_evictable_data              4    4294967296\n",
    f"{_NODE}/online": "0-3\n", f"{_NODE}/possible": "0-3\n",
    **{f"{_NODE}/node{n}/cpulist": "0-3\n" for n in range(4)},
    **{f"{_NODE}/node{n}/meminfo": f"Node {n} MemTotal:       8388608 kB\n" for n in range(4)},
}  # fmt: skip


_LISTED = {  # what lspci reads
    "usr/share/misc/pci.ids": "# chips\n1002  AMD\n\te20b  none of Intel's\n8086  Intel Corporation\n"
    "\te20b  Battlemage G21 [Arc B580]\n\t\t8086 1100  a board\nffff  Illegal Vendor ID\n"
}


def _tree(*parts: dict[str, str]) -> Tree:
    return {name: text.encode() for part in parts for name, text in part.items()}


# ----------------------------------------------------------------------------------------------- the machine


def _machines() -> list[Tree]:
    limited = {"/a": {"memory.max": "8589934592\n", "memory.current": "1000000\n", "cpu.max": "150000 100000\n",
                      "memory.stat": "inactive_file 4096\nactive_file 8192\n", "memory.swap.max": "1073741824\n"},
               "": {"memory.max": "max\n", "memory.high": "6442450944\n"}}  # fmt: skip
    swap = {"proc/meminfo": "MemTotal:       33554432 kB\nMemFree:        1048576 kB\nMemAvailable:   20971520 kB\n"
                            "SwapTotal:       8388604 kB\nSwapFree:        8388604 kB\n"}  # fmt: skip
    return [
        _tree(_SMALL, swap, trees.v2("/a", limited)),
        _tree(_SMALL, trees.DOCKER_V1),
        _tree(_SMALL, trees.HYBRID),
        _tree(trees_machine.hybrid(), trees_power.LAPTOP, trees_power.AWAY),
        _tree(trees_machine.dual_socket()),
        _tree(trees.arm(("0x41", "0xd0b"), ("0x41", "0xd05"), board="Raspberry Pi 5"), trees_machine.BIG_LITTLE),
        _tree(_SMALL, trees_machine.APU, trees_power.RADEON, trees_power.DOCKED),
        _tree(_SMALL, trees_gpu.B580, trees_power.ARC_XE, trees_machine.VPU, _LISTED),
        _tree(_SMALL, trees_gpu.PHOENIX, trees_machine.KVM, trees_machine.XDNA, trees_power.perf()),
        _tree(_SMALL, trees_machine.WSL, trees_power.JETSON, trees_machine.HEXAGON),
        _tree(_SMALL, _HELD),
    ]


def _machine(folder: Path) -> Machine:
    machine = probe.machine(bandwidth_s=None, root=folder, providers=[("VitisAIExecutionProvider", "NPU", "AMD")])
    doctor.findings(machine, Conditions())
    assert data_sheet.filled(machine).slug == machine.slug
    return machine


def _of_machine(tree: Tree, found: Machine) -> Iterator[str]:
    known, limits = told(tree), found.limits
    yield from noun(found)
    if not (1 <= limits.threads <= max(1, math.ceil(limits.cpus)) <= found.logical_cores):
        yield "threads <= cpus <= logical cores does not hold"
    if not 1 <= found.physical_cores <= found.logical_cores:
        yield "physical cores <= logical cores does not hold"
    if not 0 <= limits.free_bytes <= limits.memory_bytes <= found.memory_bytes:
        yield "free <= usable <= all memory does not hold"
    here = {_MEMORY}
    yield from follows("memory_bytes", found.memory_bytes, known | here, 1, _KIB)
    if not any(b"Huge" in one for one in tree.values() if isinstance(one, bytes)):  # a size times a count is taken off
        yield from follows("limits.memory_bytes", limits.memory_bytes, known | here, 1, _KIB)
    yield from follows("limits.swap_bytes", limits.swap_bytes, known | _differences(known) | {0.0}, 1, _KIB)
    for one in found.devices[1:]:
        both = known | _sums(known)
        yield from follows("a device's memory", one.memory_bytes, both, 1, _KIB)
        if one.free_bytes is not None and not 0 <= one.free_bytes <= (one.memory_bytes or 0):
            yield "free memory of a device is more than it has"
    for cache in found.processor.caches if found.processor else ():
        yield from follows("a cache", cache.bytes, known, _KIB)
    yield from follows("max_hz", found.processor.max_hz if found.processor else None, known, _K)


def _differences(known: frozenset[float]) -> frozenset[float]:
    return frozenset(abs(a - b) for a in known for b in known)


def _sums(known: frozenset[float]) -> frozenset[float]:
    return frozenset(a + b for a in known for b in known)


# --------------------------------------------------------------------------------------------- its conditions


def _conditions() -> list[Tree]:
    power = trees_power
    now = {"proc/loadavg": "3.80 2.00 1.00 2/300 4000\n", "proc/stat": "cpu  100 5 50 9000 30 0 20 40 0 0\ncpu0 1 2\n",
           "proc/vmstat": "pswpin 3\nworkingset_refault_file 5\npgmajfault 7\n",
           "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n", "sys/class/thermal/thermal_zone0/temp": "61000\n",
           "sys/class/hwmon/hwmon4/name": "coretemp\n", "sys/class/hwmon/hwmon4/temp1_input": "63000\n",
           "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2100000\n"}  # fmt: skip
    return [_tree(trees.x86(cores=2, smt=1), trees.DOCKER_V1, power.throttling(), power.AWAY, now,
                  power.pressure("cpu", "4.21", 987654321), power.pressure("memory"),
                  power.settings("intel_pstate", "powersave", "power", "quiet", "1"))]  # fmt: skip


def _look(folder: Path) -> Any:
    return conditions.look(folder, busy_s=0), conditions.oom_kills(folder)


def _of_conditions(tree: Tree, answer: Any) -> Iterator[str]:
    found, kills = answer
    known = told(tree)
    yield from noun(found)
    shares = {name: getattr(found, name) for name in ("cpu_pressure", "memory_pressure")}
    yield from (f"{name} is no share" for name, share in shares.items() if share is not None and not 0 <= share <= 1)
    for name in ("load_1m", "throttled_periods", "cpu_waited_us", "thermal_throttle_ms", "major_faults"):
        yield from follows(name, getattr(found, name), known | {0.0})
    yield from follows("oom_kills", kills, known)
    yield from follows("cpu_temp_c", found.cpu_temp_c, known, 1e-3)
    if found.cpu_temp_c is not None and not 0 < found.cpu_temp_c <= 150:
        yield "a processor of no such heat"
    for name in ("swapped_in_bytes", "refault_bytes", "free_bytes", "cpu_ticks", "steal_ticks", "thermal_throttles"):
        if (getattr(found, name) or 0) < 0:
            yield f"{name} is negative"


# --------------------------------------------------------------------------------------------- its energy


def _energy() -> list[Tree]:
    power = trees_power
    alone = (power.LAPTOP, power.DUAL_SOCKET, power.RADEON, power.ARC_XE, power.ARC_I915, power.ZENPOWER, power.JETSON,
             power.SERVER, power.AWAY, power.BY_CHARGE)  # fmt: skip
    return [_tree(one) for one in alone] + [_tree(power.LAPTOP, power.perf(0), power.AWAY, power.APU)]


def _readings(folder: Path) -> list[tuple[Any, float | None, float]]:
    """(source, what its meter shows now, joules of one count) of every place that counts as readable."""
    found: list[tuple[Any, float | None, float]] = []
    with contextlib.ExitStack() as stack:
        for place in sources.places(folder):
            meter = _METERS.get(place.kind)
            if meter is None or place.why:
                found.append((place.source, None, 1.0))
                continue
            for counter in meter.counters(place, folder, stack):
                with contextlib.suppress(OSError):  # what a meter says of a counter that is gone
                    found.append((place.source, counter.read(), counter.joules))
    return found


def _of_energy(tree: Tree, found: list[tuple[Any, float | None, float]]) -> Iterator[str]:
    known = told(tree)
    products = frozenset(a * b for a in known for b in known) | frozenset(
        round(sign * a * b // 1e6 * sign)
        for a in known
        for b in known
        for sign in (1, -1)  # of a negative current
    )
    for source, value, _ in found:
        yield from noun(source)
        if value is not None and not 0 <= value < 1e20:
            yield "a counter that is below zero or beyond 64 bits"
        yield from follows("a counter", value, known | products, 1, 1e-6, 1e-12)


# --------------------------------------------------------------------------------------------- pages of a process


def _pages() -> list[Tree]:
    def mapping(path: str, device: str, inode: int, **kib: int) -> str:
        fields = "".join(f"{name}: {count:10d} kB\n" for name, count in {"Size": 9999, **kib}.items())
        return f"7f0000000000-7f0000100000 r--p 00000000 {device} {inode}     {path}\n{fields}VmFlags: rd mr\n"

    maps = (mapping("/models/phi.gguf", "fe:00", 7, Rss=1000, Referenced=400, Anonymous=0)
            + mapping("/usr/lib/libc.so", "fe:00", 8, Rss=50, Referenced=50, Anonymous=20)
            + mapping("/dev/shm/x", "00:1a", 9, Rss=10, Referenced=10)
            + mapping("[heap]", "00:00", 0, Rss=5))  # fmt: skip
    return [_tree({
        "proc/self/smaps": maps,
        "proc/self/mountinfo": "30 20 0:26 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw\n",
        "proc/self/status": "RssAnon:\t 100 kB\nRssShmem:\t 30 kB\nVmSwap:\t 7 kB\nVmRSS:\t 150 kB\n",
    })]  # fmt: skip


def _of_pages(tree: Tree, answer: Any) -> Iterator[str]:
    pages, held = answer
    known = told(tree)
    for found in filter(None, (pages, held)):
        yield from noun(found)
        yield from (f"{name} is negative" for name in found.__struct_fields__ if getattr(found, name) < 0)
    if pages and (pages.artifact_touched > pages.artifact or pages.libraries_touched > pages.libraries):
        yield "more pages were touched than are there"
    if held:
        yield from follows("VmRSS", held.resident_bytes, known | {0.0}, 1, 1024)


READERS = (
    Reader("machine", _machines, _machine, _of_machine, harmless=frozenset({"another file beside"})),
    Reader("conditions", _conditions, _look, _of_conditions, harmless=frozenset({"another file beside"})),
    Reader("energy", _energy, _readings, _of_energy, harmless=frozenset({"another file beside"})),
    Reader("pages", _pages, lambda root: (smaps.file_pages(Path("/models/phi.gguf"), root), smaps.anonymous(root=root)),
           _of_pages, harmless=frozenset({"another file beside"})),
)  # fmt: skip

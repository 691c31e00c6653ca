"""The energy counters of perf: the same registers as RAPL's, opened by a system call instead of a file.

Where perf is allowed they need no change of file permissions, and they never wrap: 64 bits. Not run on hardware.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from phibench.probe.energy.access import Access
from phibench.probe.system import cpu, text_files

_PMU = "sys/bus/event_source/devices/power"
_SYSCALL = {"x86_64": 298, "aarch64": 241}  # perf_event_open: arch/x86/entry/syscalls, asm-generic/unistd.h
_CAPABLE = 1 << 38 | 1 << 21  # CAP_PERFMON and, before Linux 5.8, CAP_SYS_ADMIN (linux/capability.h)
_GRANT = "sudo sysctl kernel.perf_event_paranoid=0"

_Scope = Literal["cpu_package", "cpu_core", "dram", "gpu_die", "system_dc"]
_EVENTS: dict[str, tuple[_Scope, str]] = {  # arch/x86/events/rapl.c
    "energy-pkg": ("cpu_package", ""),
    "energy-cores": ("cpu_core", "energy-pkg: a part of it"),
    "energy-gpu": ("gpu_die", "energy-pkg: a part of it"),
    "energy-ram": ("dram", ""),
    "energy-psys": ("system_dc", "energy-pkg: it holds every package and more"),
}


class Found(NamedTuple):
    """One event that is there, as a source of energy. ``apart``: it adds up with the other events."""

    event: str
    scope: _Scope
    access: Access
    overlaps: str
    apart: bool


class Event(NamedTuple):
    """What perf_event_open is told, on which cpus, and joules of one count; 0: the kernel tells no scale."""

    kind: int
    config: int
    cpus: tuple[int, ...]
    joules: float


def event(root: Path, name: str) -> Event | None:
    """An event of the ``power`` PMU; None where the kernel has none of that name."""
    kind = text_files.number(root / _PMU / "type")
    config = re.fullmatch(r"event=0x([0-9a-f]{1,4})\s*", text_files.text(root / _PMU / "events" / name, 64))
    if kind is None or not config:
        return None
    cpus = sorted(text_files.cpu_list(text_files.text(root / _PMU / "cpumask", 4096)))  # one of each package
    return Event(kind, int(config[1], 16), tuple(cpus) or (0,), _scale(root, name))


def sources(root: Path = cpu.ROOT, *, rapl: bool = False) -> Iterator[Found]:
    """Events of the ``power`` PMU. ``rapl``: files show the same counters.

    On this machine an event counts as readable when it could be opened, on a recorded one when perf_event_paranoid
    or a capability allows it: a container may forbid the call that the kernel would allow.
    """
    for name, (scope, part) in _EVENTS.items():
        found = event(root, name)
        if found is None:
            continue
        access = _forbidden(root) if found.joules else Access("gives no scale in joules")
        if not access.why and root == cpu.ROOT:
            access = Access(opens(found.kind, found.config, found.cpus[0]))
        yield Found(name, scope, access, "RAPL: the same counters" if rapl else part, apart=not part)


def _scale(root: Path, name: str) -> float:
    """2^-32 J per count in all kernels so far; anything above a joule is not such a scale."""
    words = text_files.text(root / _PMU / "events" / f"{name}.scale", 64).strip()
    unit = text_files.text(root / _PMU / "events" / f"{name}.unit", 64).strip()
    number = float(words) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,40})?(e-[0-9]{1,2})?", words) else 0.0
    return number if 0 < number <= 1 and unit == "Joules" else 0.0


def _forbidden(root: Path) -> Access:
    """Events of a whole cpu are for privileged processes above 0 (Documentation/admin-guide/perf-security)."""
    level = text_files.number(root / "proc/sys/kernel/perf_event_paranoid")
    if level is not None and level <= 0:
        return Access()
    found = re.search(r"^CapEff:\s*([0-9a-f]{1,16})$", text_files.text(root / "proc/self/status"), re.MULTILINE)
    if found and int(found[1], 16) & _CAPABLE:
        return Access()
    why = f"needs kernel.perf_event_paranoid at 0 or CAP_PERFMON: {_GRANT} (until the next boot)"
    return Access(why, _GRANT)


def opens(kind: int, config: int, on: int) -> str:
    """Open an event of all processes on one cpu and close it again; nothing if it worked, else why not."""
    handle = opened(kind, config, on)
    if isinstance(handle, str):
        return handle
    os.close(handle)
    return ""


def opened(kind: int, config: int, on: int) -> int | str:
    """The file descriptor of an event of all processes on one cpu, or why there is none. Its 8 bytes are the count."""
    number = _SYSCALL.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return "not opened on this system"
    if not (0 <= kind < 1 << 32):
        return "gives no type"
    # struct perf_event_attr up to its first published size, 64 bytes: type, size, config, and zeros.
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", kind, 64, config).ljust(64, b"\0"), 64)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    words = (number, ctypes.byref(attributes), -1, on, -1, 0)
    handle = call(ctypes.c_long(words[0]), words[1], *(ctypes.c_long(word) for word in words[2:]))
    if handle < 0:
        return f"perf_event_open: {os.strerror(ctypes.get_errno())}"
    return int(handle)

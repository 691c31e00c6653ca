"""Windows' documented calls, through ctypes; nothing elsewhere. Not run on hardware: only the parsing is tested."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

from phibench.core.nouns import Cache

_CORES, _CACHES, _NUMA = 0, 2, 1  # LOGICAL_PROCESSOR_RELATIONSHIP (winnt.h)
_KINDS: dict[int, Literal["unified", "instruction", "data"]] = {0: "unified", 1: "instruction", 2: "data"}
# IsProcessorFeaturePresent (winnt.h), under the names that Linux gives them
_FEATURES = {40: "avx2", 41: "avx512f", 43: "asimddp", 46: "sve", 47: "sve2", 19: "asimd",
             66: "i8mm", 67: "asimdhp", 68: "bf16", 70: "sme", 71: "sme2"}  # fmt: skip
_MACHINES = {0x8664: "x86_64", 0xAA64: "arm64", 0x14C: "x86"}  # IMAGE_FILE_MACHINE_*


def caches() -> tuple[Cache, ...]:
    return parse_caches(_information(_CACHES))


def cores() -> dict[int, int]:
    """Efficiency class -> physical cores of it; the highest class is the fastest."""
    return parse_cores(_information(_CORES))


def features() -> Iterator[str]:
    """Windows does not tell of AVX-VNNI, AVX-512 VNNI, AVX-512 BF16 and AMX: they are missing here, not there."""
    kernel = _kernel()
    if kernel:
        yield from parse_features(lambda number: bool(kernel.IsProcessorFeaturePresent(number)))


def parse_features(present: Callable[[int], bool]) -> Iterator[str]:
    return (name for number, name in _FEATURES.items() if present(number))


def emulated() -> str | None:
    """IsWow64Process2: what the process is made for, and what the machine is."""
    kernel = _kernel()
    if not kernel or not hasattr(kernel, "IsWow64Process2"):
        return None
    process, machine = ctypes.c_ushort(0), ctypes.c_ushort(0)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel.GetCurrentProcess())
    if not kernel.IsWow64Process2(handle, ctypes.byref(process), ctypes.byref(machine)):
        return None
    mine = "x86_64" if sys.maxsize > 2**32 else "x86"
    native = _MACHINES.get(machine.value)
    import platform

    is_arm_python = "ARM" in platform.python_compiler()
    return f"{mine} Python on an arm64 processor" if native == "arm64" and not is_arm_python else None


def parse_caches(data: bytes) -> tuple[Cache, ...]:
    """CACHE_RELATIONSHIP records: level, associativity, line size, CacheSize, type."""
    found: Counter[tuple[int, Literal["unified", "instruction", "data"], int]] = Counter()
    for kind, body in records(data):
        if kind == _CACHES and len(body) >= 12:
            level, _, _, size, which = struct.unpack_from("<BBHII", body)
            if 1 <= level <= 9 and which in _KINDS:
                found[level, _KINDS[which], size] += 1
    return tuple(Cache(level=level, kind=kind, bytes=size, count=n) for (level, kind, size), n in sorted(found.items()))


def parse_cores(data: bytes) -> dict[int, int]:
    """PROCESSOR_RELATIONSHIP records: flags, EfficiencyClass."""
    classes = [body[1] for kind, body in records(data) if kind == _CORES and len(body) >= 2]
    return dict(sorted(Counter(classes).items()))


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(Relationship, body) of each SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX; what is cut off is left out."""
    start = 0
    while start + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, start)
        if size < 8 or start + size > len(data):
            return
        yield kind, data[start + 8 : start + size]
        start += size


def _information(relationship: int) -> bytes:
    """GetLogicalProcessorInformationEx, asked twice: for the size, then for the records."""
    kernel = _kernel()
    if not kernel:
        return b""
    length = ctypes.c_ulong(0)
    kernel.GetLogicalProcessorInformationEx(relationship, None, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    if not length.value or not kernel.GetLogicalProcessorInformationEx(relationship, buffer, ctypes.byref(length)):
        return b""
    return buffer.raw[: length.value]


def _kernel() -> Any:
    return getattr(ctypes, "WinDLL")("kernel32") if sys.platform == "win32" else None  # noqa: B009  mypy on Linux

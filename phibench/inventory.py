"""What is here: the machine with its slow figures remembered, the software, the backends."""

from __future__ import annotations

import math
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from phibench import __version__, files, probe, units
from phibench import backends as engines
from phibench.errors import PhibenchError
from phibench.nouns import Device, Machine, Noun
from phibench.probe.memory import Bandwidth

_BANDWIDTH_S = 3.0
_RETRY_S = 600  # a bandwidth that other programs disturbed is measured again, but not for every command


class _Remembered(Noun, frozen=True, kw_only=True):
    """One measurement; ``at`` is seconds since 1970."""

    at: float
    bandwidth: Bandwidth


# ------------------------------------------------------------------------------------------------ machine


def here(*, bandwidth: bool = True, anew: bool = False) -> Machine:
    """This machine; limits and free memory are read now, slow figures come from the cache where it has them.

    ``bandwidth=False`` measures nothing, ``anew`` measures even what the cache has. A damaged or unwritable cache
    only costs time.
    """
    quick = probe.machine(bandwidth_s=None)
    path = files.cache_dir() / "machine.json"
    known = _read(path)
    old = known.get(quick.identity)
    if bandwidth and (anew or old is None or (old.bandwidth.disturbed and time.time() - old.at > _RETRY_S)):
        measured = probe.bandwidth(quick, _BANDWIDTH_S)
        best = _faster(old.bandwidth, measured) if old and not anew else measured
        if measured.read_bytes_s is None:
            return probe.with_bandwidth(quick, best)
        old = _Remembered(at=time.time(), bandwidth=best)
        _write(path, {**known, quick.identity: old})
    return probe.with_bandwidth(quick, old.bandwidth) if old else quick


def _faster(one: Bandwidth, other: Bandwidth) -> Bandwidth:
    """A peak is the most that was ever seen: disturbances only make memory look slower."""
    return max(one, other, key=lambda found: found.read_bytes_s or 0.0)


def _read(path: Path) -> dict[str, _Remembered]:
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, _Remembered])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {key: old for key, old in known.items() if 0 < (old.bandwidth.read_bytes_s or 0) < math.inf}


def _write(path: Path, known: dict[str, _Remembered]) -> None:
    try:
        files.write_json(path, known)
    except PhibenchError:
        return  # a read-only home is no reason to stop: the next command measures again


def card(machine: Machine) -> list[tuple[str, str]]:
    """Label and value of each line of the machine card, a described machine's as well as this one's."""
    limits, processor = machine.limits, machine.device("cpu")
    cores = f"{limits.cpus:g} of {machine.logical_cores} ({machine.physical_cores} physical cores)"
    return [
        ("CPU", processor.name if processor else machine.name),
        ("Usable cpus", f"{cores}; threads used: {limits.threads}"),
        ("Memory", f"{units.gib(limits.memory_bytes)} usable of {units.gib(machine.memory_bytes)}"),
        ("Free now", units.gib(limits.free_bytes)),
        *((f"Device {d.kind}", d.name) for d in machine.devices if d.kind != "cpu"),
        *(_bandwidth_lines(processor) if processor else ()),
        *(("Note", note) for note in limits.notes),
    ]


def _bandwidth_lines(processor: Device) -> Iterator[tuple[str, str]]:
    if not processor.read_bytes_s:
        yield "Read bandwidth", processor.because or "not measured"
        return
    origin = {"probed": "measured", "spec": "data sheet"}.get(processor.basis or "", "source unknown")
    yield "Read bandwidth", f"{units.gb(processor.read_bytes_s)}/s ({origin})"
    if doubt := processor.because.partition("; ")[2]:
        yield "Note", f"read bandwidth is {doubt}"


# ----------------------------------------------------------------------------------------------- software


def software() -> dict[str, str]:
    """Versions that a result depends on; what is not installed is left out. No host or user name."""
    from importlib import metadata

    found = {
        "os": _os(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "phibench": __version__,
    }
    packages = {"numpy", "psutil", *(engines.load(name).PACKAGE for name in engines.names())} - {"phibench"}
    for package in sorted(packages):
        try:
            found[package.replace("-", "_")] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _os() -> str:
    """``Debian GNU/Linux 12 (bookworm), kernel 6.1.0``: a kernel's own suffix may name who built it."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}".strip()
    if sys.platform == "win32":
        return f"Windows {platform.release()} {platform.version()}"
    number = re.match(r"[0-9]+(\.[0-9]+){0,2}", platform.release())
    kernel = f"kernel {number[0]}" if number else "kernel unknown"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return f"{platform.system()}, {kernel}"


def backends() -> list[tuple[str, str]]:
    """Every backend with its version, or the line that installs it."""
    rows = []
    for name in engines.names():
        engine = engines.load(name)
        missing = f"not installed: pip install 'phibench[{engine.EXTRA}]'"
        rows.append((name, engine.installed() or missing))
    return rows

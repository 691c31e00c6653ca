"""A machine of which somebody says a few words: names of a GPU and a processor, memory, system, power."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeVar, get_args

import msgspec

from phibench.core import errors
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Hardware, Machine
from phibench.machine import ram
from phibench.machine.described import GPUS, PROCESSORS, Described, Os, machine_of, row_named

T = TypeVar("T", bound=str)
Power = Literal["battery", "mains"]
OSES: tuple[Os, ...] = get_args(Os)
POWERS: tuple[Power, ...] = get_args(Power)
SYSTEM = {"linux": "Linux", "windows": "Windows", "macos": "macOS", "android": "Android", "ios": "iOS"}
NO_GPU = ("none", "no")
_MOST_GPUS = 16
_WHOLE = ("soc", "phone", "sbc")
_COUNTED = (  # "MX450" is a name
    re.compile(r"(?P<count>\d{1,3}) ?[x×*] ?(?P<name>[a-z].*)"),
    re.compile(r"(?P<name>.+?)(?: |\()[x×*] ?(?P<count>\d{1,2})\)?"),
)
ON_BATTERY = "the speeds are those on mains power: on battery a laptop is slower, by how much is not published"


class Parts(NamedTuple):
    """What a machine was said to have; ``gpus`` equal ones. ``without_gpu``: it has none."""

    gpu: Hardware | None = None
    cpu: Hardware | None = None
    memory_bytes: int | None = None
    os: Os | None = None
    gpus: int = 1
    without_gpu: bool = False
    chosen: tuple[str, ...] = ()  # what a name left open, a sentence each


def described(
    gpu: str | None = None, cpu: str | None = None, ram: str | None = None, os: str | None = None,
    power: str | None = None, cpus: float | None = None,
) -> Described:  # fmt: skip
    """The machine that is meant, and what had to be assumed; ``cpus``: as many a container may use of it.

    ``gpu`` may be "2x RTX 3090" or "none". Raises PhibenchError (exit 2) for what nobody knows or what cannot be.
    """
    if not gpu and not cpu:
        raise PhibenchError("a machine needs the name of its processor or GPU; 'phibench hardware' lists names")
    memory = _memory(ram)
    count, name = counted(gpu or "")
    none = name.lower() in NO_GPU
    if none and not cpu:
        raise PhibenchError("a machine without a GPU needs the name of its processor; 'phibench hardware' lists them")
    card, of_card = row_named(name, memory, GPUS) if name and not none else (None, ())
    host, of_host = row_named(cpu, memory, PROCESSORS) if cpu else (None, ())
    chosen = tuple(dict.fromkeys((*of_host, *of_card)))
    parts = Parts(card, host, memory, _one_of(os, OSES, "system"), count, none, chosen)
    return made(parts, _one_of(power, POWERS, "power"), cpus)


def made(parts: Parts, power: Power | None = None, cpus: float | None = None) -> Described:
    """Raises PhibenchError for parts that no machine has together."""
    parts = _one_chip(parts)
    _check_kinds(parts)
    _check_system(parts)
    found = machine_of(
        parts.gpu, parts.cpu, parts.memory_bytes, parts.os, gpus=parts.gpus, without_gpu=parts.without_gpu,
        server=cpus is not None,
    )  # fmt: skip
    machine = msgspec.structs.replace(found.machine, power=power)
    if cpus is not None:
        machine = _confined(machine, cpus)
    on_battery = (ON_BATTERY,) if power == "battery" else ()
    return Described(machine, (*parts.chosen, *found.assumed, *on_battery))


def counted(text: str) -> tuple[int, str]:
    """``2x RTX 3090`` is two of them. Raises PhibenchError for none and for more than a machine has."""
    name = " ".join(text.split())
    for pattern in _COUNTED:
        if found := pattern.fullmatch(name.lower()):
            count, (start, end) = int(found["count"]), found.span("name")
            if not 1 <= count <= _MOST_GPUS:
                raise PhibenchError(f"'{name[:100]}': 1 to {_MOST_GPUS} GPUs, for example '2x RTX 3090'; or 'none'")
            return count, name[start:end].strip()
    return 1, name


def _memory(text: str | None) -> int | None:
    return None if text is None else ram.ram_bytes(text)


def _one_of(text: str | None, known: tuple[T, ...], what: str) -> T | None:
    found = next((one for one in known if text and one == text.strip().lower()), None)
    if text and found is None:
        raise errors.unknown(what, text, known, f"there are: {', '.join(known)}")
    return found


def _check_kinds(parts: Parts) -> None:
    gpu, cpu = parts.gpu, parts.cpu
    if gpu and gpu.kind in ("cpu", "npu"):
        is_what = "a processor: give it as the processor (--cpu)" if gpu.kind == "cpu" else "an NPU: leave it out"
        raise PhibenchError(f"'{gpu.name}' is not a GPU but {is_what}")
    if cpu and (cpu.kind in ("igpu", "npu") or cpu.kind.startswith("gpu")):
        is_what = "an NPU: leave it out" if cpu.kind == "npu" else "a GPU: give it as the GPU (--gpu)"
        raise PhibenchError(f"'{cpu.name}' is not a processor but {is_what}")
    if gpu and cpu and (gpu.kind in _WHOLE or cpu.vendor == "Apple" or cpu.kind == "phone"):
        one, other = (gpu, cpu) if gpu.kind in _WHOLE else (cpu, gpu)
        raise PhibenchError(f"'{one.name}' is a processor and a GPU and takes no '{other.name}': leave out one of them")


def _one_chip(parts: Parts) -> Parts:
    """A chip that was given as both is one; its GPU may say which version."""
    gpu, cpu = parts.gpu, parts.cpu
    if gpu and cpu and gpu.kind in _WHOLE and (gpu.kind, gpu.architecture) == (cpu.kind, cpu.architecture):
        return parts._replace(gpu=None, cpu=gpu)
    return parts


def _check_system(parts: Parts) -> None:
    whole = next((row for row in (parts.cpu, parts.gpu) if row and row.kind in ("cpu", *_WHOLE)), None)
    runs = _systems(whole)
    if parts.os and parts.os not in runs:
        name = next(row.name for row in (whole, parts.gpu, parts.cpu) if row)
        there = " or ".join(SYSTEM[one] for one in runs)
        raise PhibenchError(f"'{name}' does not run {SYSTEM[parts.os]} but {there}")


def _systems(host: Hardware | None) -> tuple[Os, ...]:
    """What a chip runs; of None a PC is meant."""
    if host is None:
        return "windows", "linux"
    if host.vendor == "Apple":
        return ("ios",) if host.kind == "phone" else ("macos", "linux")
    if host.kind == "phone":
        return ("android",)
    if host.kind == "sbc":
        return "linux", "android", "windows"
    return ("windows", "linux", "macos") if host.kind == "cpu" and host.vendor == "Intel" else ("windows", "linux")


def _confined(machine: Machine, cpus: float) -> Machine:
    """As a container sees it that may use ``cpus`` of its processors."""
    if not 0 < cpus <= machine.logical_cores:
        raise PhibenchError(f"{cpus:g} CPUs: {machine.name} has {machine.logical_cores}")
    threads = max(1, min(machine.limits.threads, int(cpus)))
    limits = msgspec.structs.replace(machine.limits, cpus=cpus, threads=threads)
    processor = machine.processor and msgspec.structs.replace(machine.processor, container="container")
    return msgspec.structs.replace(machine, limits=limits, processor=processor)

"""A machine that is nowhere here, made of rows of the table: what a card, a processor and some memory would be.

What was not told is assumed, and said. Of graphics on one chip with the processor there is one device, with the memory
that both share; NPUs are left out, since nothing is predicted for them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

import msgspec

from phibench.catalog import hardware
from phibench.catalog.hardware.usual import usual
from phibench.core import units
from phibench.core.nouns import Cache, Device, Hardware, Limits, Machine, Processor
from phibench.machine import reserve
from phibench.machine.data_sheet import with_row
from phibench.probe.devices import apple
from phibench.probe.system import kinds

Os = Literal["linux", "windows", "macos", "android", "ios"]
GIB = 1 << 30
# What may be meant by the name of a processor, and by that of a GPU.
PROCESSORS = ("cpu", "soc", "phone", "sbc")
GPUS = ("gpu-desktop", "gpu-laptop", "gpu-workstation", "gpu-datacenter", "igpu", "soc", "phone", "sbc")

# Chosen: what a card is often found beside. Its processor matters only for what does not fit into the card.
_BESIDE = {"gpu-datacenter": "EPYC 7543", "gpu-laptop": "Core i7-12700H"}
_BESIDE_OTHERS = "Ryzen 5 5600"
# Chosen: memory of a machine whose memory nobody told, never more than it is sold with. Phones, and boards and chips of
# other makers than these, are sold with what their row says.
_MEMORY_GIB = {"gpu-datacenter": 128, "sbc": 8}
_MEMORY_OTHERS_GIB = 16
_SOLD_WITH_SEVERAL = {"Apple", "Qualcomm", "Raspberry Pi", "Rockchip"}
_CORES = 8  # chosen: of a processor whose row does not say
# GPUs that AMD's and Intel's own stacks run on (ROCm, oneAPI: from memory); of the others Vulkan is what is left.
_ROCM = {"vega20", "cdna1", "cdna2", "cdna3", "cdna4", "rdna2", "rdna3", "rdna3.5", "rdna4"}
_ROCM_INSIDE = {"rdna3.5", "cdna3"}
_SYCL = {"alchemist", "battlemage", "xe-hpc", "xe-lpg", "xe-lpg+", "xe2-lpg", "xe3-lpg"}


class Described(NamedTuple):
    """``assumed``: what nobody told, a sentence each."""

    machine: Machine
    assumed: tuple[str, ...]


def row_named(
    name: str, memory_bytes: int | None = None, meant: Collection[str] = ()
) -> tuple[Hardware, tuple[str, ...]]:
    """The row that a person means, and in a sentence what was chosen for them.

    Of a chip that is sold with several GPUs the slowest that has ``memory_bytes``; of a card that is sold with several
    sizes of memory the commoner. Raises PhibenchError (exit 2) for a name that none has, with the nearest of ``meant``,
    and for other versions.
    """
    found = hardware.versions(name, memory_bytes) or hardware.versions(name)
    if not all(_on_chip(row) for row in found):  # a card has its own
        found = hardware.versions(name)
    if len(found) > 1 and len({(row.kind, row.vendor, row.architecture) for row in found}) == 1 and _on_chip(found[0]):
        least = min(found, key=lambda row: (row.read_bytes_s or 0, row.fp16_flops_s or 0))
        return least, (f"{least.name}: the slowest of {len(found)} versions",)
    if chosen := usual(found):
        row, why = chosen
        return row, (f"{row.name}, not {' or '.join(r.name for r in found if r != row)}: {why}",)
    if not found:
        raise hardware.unknown(name, meant)
    return found[0] if len(found) == 1 else hardware.named(name), ()


def machine_of(
    gpu: Hardware | None = None, cpu: Hardware | None = None, memory_bytes: int | None = None, os: Os | None = None,
    *, gpus: int = 1, without_gpu: bool = False, server: bool = False,
) -> Described:  # fmt: skip
    """The machine with this GPU (``gpus`` equal ones) and processor, and what had to be assumed.

    A chip with both (Apple's, a phone's, a board's) may be given as either. ``without_gpu``: it has none, or none is to
    be used. ``server``: no desktop takes of its memory. At least one of the rows is needed.
    """
    assumed: list[str] = []
    whole = next((row for row in (cpu, gpu) if row and _on_chip(row) and row.kind != "igpu"), None)
    host = cpu or whole or _beside(gpu, assumed)
    memory = memory_bytes or _memory(host, gpu, assumed)
    system = os or _os(host, gpu, assumed)
    processor = _cpu(host, memory)
    graphics = () if without_gpu else _gpus(gpu or whole or _own(host), gpus, processor, memory, system)
    cores = host.cores or _assumed(assumed, _CORES, f"{host.name} has {_CORES} cores")
    alone = server or (gpu is not None and gpu.kind == "gpu-datacenter")
    free = reserve.free_bytes(memory, system, host, server=alone)
    assumed.append(f"{units.gib(free)} of {units.gib(memory)} memory are free")
    slow, logical = host.efficiency_cores or 0, max(host.threads or cores, cores)
    threads = kinds.threads([1.0] * (cores - slow) + [kinds.EFFICIENCY if cores > slow else 1.0] * slow)
    machine = Machine(
        name=_name(host, gpu, gpus),
        os=system,
        arch="arm64" if _is_arm(host) else "x86_64",
        physical_cores=cores,
        logical_cores=logical,
        memory_bytes=memory,
        devices=(processor, *graphics),
        limits=Limits(cpus=float(logical), threads=threads, memory_bytes=memory, free_bytes=free),
        processor=_made_of(host, cores - slow, slow),
    )
    return Described(machine, tuple(assumed))


def _made_of(host: Hardware, fast: int, slow: int) -> Processor:
    return Processor(
        vendor=host.vendor,
        performance_cores=fast or None,
        efficiency_cores=slow,
        instruction_sets=host.instruction_sets,
        caches=(Cache(level=3, bytes=host.l3_bytes),) if host.l3_bytes else (),
        max_hz=host.boost_hz,
    )


def _name(host: Hardware, gpu: Hardware | None, gpus: int) -> str:
    many = f"{gpus}x " if gpus > 1 else ""
    return host.name if gpu is None or gpu.name == host.name else f"{host.name} with {many}{gpu.name}"


def _on_chip(row: Hardware) -> bool:
    return row.shares_memory and row.kind != "npu"


def _is_arm(host: Hardware) -> bool:
    return "asimddp" in host.instruction_sets or host.kind in ("phone", "sbc") or host.vendor in ("Apple", "NVIDIA")


def _assumed(assumed: list[str], value: int, sentence: str) -> int:
    assumed.append(sentence)
    return value


def _beside(gpu: Hardware | None, assumed: list[str]) -> Hardware:
    """The processor of a machine of which only the GPU was told: that which has it, or a usual one."""
    assert gpu is not None, "a machine of nothing"
    inside = [row for row in hardware.rows() if row.graphics and gpu in hardware.versions(row.graphics)]
    host = inside[0] if inside else hardware.named(_BESIDE.get(gpu.kind, _BESIDE_OTHERS))
    assumed.append(f"processor: {host.name}")
    return host


def _own(host: Hardware) -> Hardware | None:
    return hardware.agreed(hardware.versions(host.graphics)) if host.graphics else None


def _memory(host: Hardware, gpu: Hardware | None, assumed: list[str]) -> int:
    told = host.told_bytes or (gpu.told_bytes if gpu else None)
    if told:
        return told
    if host.memory_bytes and (host.kind == "phone" or host.vendor not in _SOLD_WITH_SEVERAL):
        return host.memory_bytes
    kind = gpu.kind if gpu and host.kind == "cpu" else host.kind
    most = host.memory_bytes or 0
    usual = max(_MEMORY_GIB.get(kind, _MEMORY_OTHERS_GIB) * GIB, most // 4 if host.kind != "cpu" else 0)
    memory = min(usual, most or usual)  # a quarter of the most that is sold: an M3 Max comes with 36 to 128 GB
    return _assumed(assumed, memory, f"{units.gib(memory)} memory")


def _os(host: Hardware, gpu: Hardware | None, assumed: list[str]) -> Os:
    if host.vendor == "Apple":
        return "ios" if host.kind == "phone" else "macos"
    if host.kind == "phone":
        return "android"
    if host.vendor == "Qualcomm":
        assumed.append("Windows")
        return "windows"
    if host.kind != "sbc" and not (gpu and gpu.kind == "gpu-datacenter"):
        assumed.append("Linux")
    return "linux"


def _cpu(host: Hardware, memory: int) -> Device:
    return with_row(Device(kind="cpu", name=host.name, memory_bytes=memory), host, flops=not host.gpu_computes)


def _gpus(gpu: Hardware | None, count: int, cpu: Device, memory: int, system: Os) -> tuple[Device, ...]:
    kind = _kind(gpu, system) if gpu else None
    if gpu is None or kind is None:
        return ()
    if kind == "metal":
        (found,) = apple.device(gpu.name, memory, None)
        return (with_row(msgspec.structs.replace(found, name=gpu.name), gpu),)
    inside = _on_chip(gpu)
    # One memory: its bandwidth is that of the modules that the processor has.
    rate = cpu.read_bytes_s if inside and cpu.read_bytes_s else None
    one = Device(
        kind=f"{kind}:0", name=gpu.name, memory_bytes=memory if inside else gpu.memory_bytes, shares_memory=inside,
        free_bytes=None if inside else reserve.card_bytes(gpu),
        read_bytes_s=rate, spec_read_bytes_s=rate, basis="spec" if rate else None, because=cpu.because if rate else "",
    )  # fmt: skip
    card = with_row(one, gpu)
    return tuple(msgspec.structs.replace(card, kind=f"{kind}:{i}") for i in range(count))


def _kind(gpu: Hardware, system: Os) -> str | None:
    """What runs on it; None of a GPU that no engine here is built for."""
    apple = gpu.vendor == "Apple"
    if not gpu.gpu_computes or system == "android" or apple != (system in ("macos", "ios")):
        return None  # a Mac of Intel's has a processor alone, and so has Apple's under Linux
    if apple or gpu.vendor == "NVIDIA":
        return "metal" if apple else "cuda"
    if gpu.vendor == "AMD":
        own = _ROCM_INSIDE if _on_chip(gpu) else _ROCM
        return "rocm" if gpu.architecture in own and system == "linux" else "vulkan"
    if gpu.vendor == "Intel":
        return "xpu" if gpu.architecture in _SYCL else "vulkan"
    return None

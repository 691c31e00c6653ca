"""What the table of devices knows of a machine's own: figures that nobody has measured, and no driver told.

Nothing that is known is replaced. A name that leaves open which device it is fills in only what all that it may mean
have in common; a part of a device (a slice of a GPU, some cores of a server) has none of the whole's figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from phibench.catalog import hardware
from phibench.core.nouns import Device, Hardware, Machine

_SAME = 0.06  # two figures of one bandwidth: clocks of drivers are rounded, and so are data sheets


def filled(machine: Machine) -> Machine:
    """With the data sheets of its devices, where it has rows."""
    cpu = processor(machine)
    return msgspec.structs.replace(machine, devices=tuple(_filled(device, machine, cpu) for device in machine.devices))


def with_memory(machine: Machine) -> Machine:
    """A machine that a person wrote down, with the memory of the cards whose names say it. Not for a probed one: there
    a driver that tells no memory may give only a part."""
    return msgspec.structs.replace(machine, devices=tuple(_with_memory(device) for device in machine.devices))


def _with_memory(device: Device) -> Device:
    if device.memory_bytes is not None or device.shares_memory or device.problems or device.kind == "cpu":
        return device
    row = hardware.agreed(hardware.versions(device.name))
    if row is None or not row.kind.startswith("gpu-") or row.memory_bytes is None:
        return device
    return msgspec.structs.replace(
        device, memory_bytes=row.memory_bytes, facts={**device.facts, "data_sheet": row.name}
    )


def with_row(device: Device, row: Hardware, *, flops: bool = True, sockets: int = 1) -> Device:
    """The device with what its row says and it does not know; ``flops``: the row's rates are this device's."""
    spec = row.read_bytes_s * sockets if row.read_bytes_s else None
    rate = row.fp16_flops_s * sockets if row.fp16_flops_s and flops else None
    new: dict[str, object] = {}
    if device.spec_read_bytes_s is None and spec:
        new["spec_read_bytes_s"] = spec
    if device.flops_s is None and rate:
        new["flops_s"] = rate
    if device.read_bytes_s is None and spec:
        of = f"{sockets} x {row.name}" if sockets > 1 else row.name
        new |= {"read_bytes_s": spec, "basis": "spec", "because": f"data sheet of {of}: {spec / 1e9:.4g} GB/s"}
    if new:
        new["facts"] = {**device.facts, "data_sheet": row.name}
    return msgspec.structs.replace(device, **new)


def processor(machine: Machine) -> Hardware | None:
    """The row of its processor, if this process may use the whole: which part a virtual machine has nobody knows."""
    known = machine.processor
    if (known and known.hypervisor and not known.is_wsl) or machine.limits.cpus < machine.physical_cores:
        return None
    cpu = machine.device("cpu")
    row = _row(cpu.name if cpu else machine.name, machine.memory_bytes, machine.physical_cores)
    if row is None or row.kind not in ("cpu", "soc", "phone", "sbc"):
        return None
    return row if row.cores is None or row.cores * _sockets(machine) <= machine.physical_cores else None


def _sockets(machine: Machine) -> int:
    return (machine.processor and machine.processor.sockets) or 1


def _filled(device: Device, machine: Machine, cpu: Hardware | None) -> Device:
    if device.kind == "cpu":
        whose = not cpu or not cpu.gpu_computes
        return with_row(device, cpu, flops=whose, sockets=_sockets(machine)) if cpu else device
    if device.kind.partition(":")[0] == "npu" or device.problems or _is_withheld(device):
        return device
    for name in _names(device, cpu):
        row = _of_gpu(name, device, machine)
        device = with_row(device, row) if row else device
    return device


def _is_withheld(device: Device) -> bool:
    """The driver told a bandwidth, and the probe does not believe that all of it is this device's."""
    return device.spec_read_bytes_s is not None and device.read_bytes_s is None


def _names(device: Device, cpu: Hardware | None) -> Iterator[str]:
    """What it may be called: by its driver, by the processor that it is a part of, by lspci, which may name several."""
    yield device.name
    if cpu and cpu.graphics and (device.shares_memory or device.facts.get("integrated") == "yes"):
        yield cpu.graphics
    if "chip" in device.facts:
        yield device.facts["chip"]


def _of_gpu(name: str, device: Device, machine: Machine) -> Hardware | None:
    memory = machine.memory_bytes if device.shares_memory else device.memory_bytes
    found = hardware.versions(name, memory, machine.physical_cores)
    found = tuple(row for row in found if row.kind not in ("cpu", "npu") and row.gpu_computes)
    told = device.spec_read_bytes_s
    if told:
        found = tuple(row for row in found if row.read_bytes_s and abs(row.read_bytes_s / told - 1) <= _SAME) or found
    return hardware.agreed(found)


def _row(name: str, memory_bytes: float, cores: int) -> Hardware | None:
    return hardware.agreed(hardware.versions(name, memory_bytes, cores))

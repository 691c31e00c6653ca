"""NVIDIA's GPUs through NVML (``nvidia-ml-py``). Every call may fail alone; no driver and no GPU is an empty tuple.

``nvml`` in the signatures is the module, given by tests. Not run on hardware.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from phibench.core.nouns import Device, Problem, Throttle
from phibench.probe.devices import Provider, pci
from phibench.probe.devices.nvml import (
    MOST_BYTES,
    Gpu,
    call,
    count,
    is_cut,
    may_be_others,
    name_of,
    opened,
    shares_memory,
    text,
    visible,
)
from phibench.probe.system.cpu import ROOT, clean
from phibench.probe.system.memory import host_memory

# nvmlClocksEventReasons (nvml.h); idle and settings made by the user are no throttling
_REASONS = {
    0x4: Throttle(name="power cap"), 0x8: Throttle(name="hardware slowdown", protects=True),
    0x20: Throttle(name="heat (software)", protects=True), 0x40: Throttle(name="heat (hardware)", protects=True),
    0x80: Throttle(name="power brake", protects=True), 0x400: Throttle(name="reliability voltage"),
}  # fmt: skip
_SM, _MEMORY = 1, 2  # NVML_CLOCK_SM, NVML_CLOCK_MEM
_VGPU = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU
_DIVIDED = Problem(
    kind="divided",
    evidence="MIG is on: a program gets one slice of the GPU",
    remedy="nvidia-smi mig shows the slices",
)
GPUS = True


def devices(root: Path = ROOT, _providers: Sequence[Provider] = (), nvml: Any = None) -> tuple[Device, ...]:
    """What CUDA programs of this process see, as ``cuda:0``, ... with NVML's order (that of the PCI bus).

    NVML answers by calls, so only on the machine itself.
    """
    if root != ROOT:
        return ()
    with opened(nvml) as api:
        if api is None:
            return ()
        found, unsure = [_device(api, gpu, f"cuda:{i}") for i, gpu in enumerate(visible(api))], may_be_others(api)
    if unsure:
        note = "numbered as on the PCI bus; CUDA counts from the fastest unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set"
        return tuple(msgspec.structs.replace(device, notes=(*device.notes, note)) for device in found)
    return tuple(found)


def processes(nvml: Any = None) -> int | None:
    """How many other processes compute on the GPUs; None where NVML does not tell.

    In a container NVML may tell the host's numbers: then this process counts as another one while it computes.
    """
    with opened(nvml) as api:
        if api is None:
            return None
        lists = [call(api, "nvmlDeviceGetComputeRunningProcesses", gpu.whole) for gpu in visible(api)]
    known = [found for found in lists if isinstance(found, list)]
    pids = {pid for found in known for p in found if (pid := count(getattr(p, "pid", None), 1 << 32)) is not None}
    return len(pids - {os.getpid()}) if known else None


def busy_share(nvml: Any = None) -> float | None:
    """Of the last second or so, in which some program computed: the busiest GPU; None where NVML does not tell."""
    with opened(nvml) as api:
        if api is None:
            return None
        asked = [call(api, "nvmlDeviceGetUtilizationRates", gpu.whole) for gpu in visible(api)]
    known = [found for one in asked if (found := count(getattr(one, "gpu", None), 100)) is not None]
    return max(known) / 100 if known else None


def throttle(nvml: Any = None) -> tuple[Throttle, ...]:
    """Why GPUs run below their clock now."""
    with opened(nvml) as api:
        if api is None:
            return ()
        return tuple(dict.fromkeys(reason for gpu in visible(api) for reason in _reasons(api, gpu.whole)))


def _device(api: Any, gpu: Gpu, kind: str) -> Device:
    one = gpu.whole if gpu.part is None else gpu.part
    name = name_of(api, gpu)
    shared = shares_memory(api, one, name)
    total, free = _memory(api, one, shared=shared)
    spec = None if shared or gpu.part is not None else _bandwidth(api, gpu.whole)
    rate, because, notes = spec, "NVML: highest memory clock x 2 x bus width" if spec else "NVML reports none", []
    if shared:
        because = "NVML reports none for memory that is shared with the processor"
        notes.append("its memory is the machine's, as on GB10, N1X and Jetson")
    problems = (_DIVIDED,) if is_cut(api, gpu.whole) else ()
    if problems:
        rate, because = None, "a MIG slice has a part of the GPU's, and NVML does not report which"
        notes.append(_DIVIDED.evidence)
        if gpu.part is None:  # not one that this process may see: what the whole has says nothing
            total = free = None
    if call(api, "nvmlDeviceGetVirtualizationMode", gpu.whole) == _VGPU:
        rate, because = None, "a virtual GPU shares its bandwidth with others"
        notes.append("a virtual GPU: others use the same hardware")
    counts, tells_power = _counts(api, gpu.whole), _tells_power(api, gpu.whole)
    return Device(
        kind=kind,
        name=name,
        memory_bytes=total,
        free_bytes=free,
        shares_memory=shared,
        read_bytes_s=rate,
        spec_read_bytes_s=spec,
        basis="spec" if rate else None,
        because=because,
        driver=_driver(api),
        power_limit_w=_limit_w(api, gpu.whole),
        energy_method="counter" if counts else "power" if tells_power else None,
        facts=_facts(api, gpu.whole, counts=counts, tells_power=tells_power),
        notes=tuple(notes),
        problems=problems,
    )


def _memory(api: Any, handle: Any, *, shared: bool) -> tuple[int | None, int | None]:
    """Total and free bytes. Of shared memory the total is the machine's: what NVML tells, if it does, is the part that
    the firmware set aside, and a CUDA program can have most of the rest."""
    if shared:
        return host_memory(ROOT)[0] or None, None
    memory = call(api, "nvmlDeviceGetMemoryInfo", handle)
    total, free = (count(getattr(memory, key, None), MOST_BYTES) for key in ("total", "free"))
    return total or None, free if total and free is not None and free <= total else None


def _bandwidth(api: Any, handle: Any) -> float | None:
    """Bytes per second: NVML's clock counts once per two transfers, for GDDR and HBM alike.

    Agrees with data sheets: RTX 4090 10501 MHz x 2 x 384 bits = 1008 GB/s, A100 40 GB 1215 x 2 x 5120 = 1555.
    B200 was told 512 bits too wide by early drivers (github.com/pytorch/ao/pull/4002).
    """
    megahertz = count(call(api, "nvmlDeviceGetMaxClockInfo", handle, _MEMORY), 1 << 17)
    bits = count(call(api, "nvmlDeviceGetMemoryBusWidth", handle), 1 << 15)
    rate = megahertz * 1e6 * 2 * bits / 8 if megahertz and bits else 0.0
    return rate if 1e9 <= rate <= 4e13 else None


def _facts(api: Any, handle: Any, *, counts: bool, tells_power: bool) -> dict[str, str]:
    """What the driver says, as text with units; what it does not say is left out."""
    ecc, mig = (call(api, f"nvmlDeviceGet{name}Mode", handle) for name in ("Ecc", "Mig"))
    said: dict[str, str | None] = {
        "power_limit": _unit(1e-3, "W", call(api, "nvmlDeviceGetEnforcedPowerLimit", handle)),
        "power_limit_default": _unit(1e-3, "W", call(api, "nvmlDeviceGetPowerManagementDefaultLimit", handle)),
        "clock": _unit(1, "MHz", call(api, "nvmlDeviceGetClockInfo", handle, _SM)),
        "clock_max": _unit(1, "MHz", call(api, "nvmlDeviceGetMaxClockInfo", handle, _SM)),
        "memory_clock_max": _unit(1, "MHz", call(api, "nvmlDeviceGetMaxClockInfo", handle, _MEMORY)),
        "throttle": ", ".join(one.name for one in _reasons(api, handle)) or None,
        "ecc": _switch(ecc),
        "mig": _switch(mig),
        "pcie": _pcie(api, handle, "Curr"),  # an idle GPU slows it down
        "pcie_max": _pcie(api, handle, "Max"),
        "energy_counter": "yes" if counts else "no",
        "power_sensor": "yes" if tells_power else None,
    }
    return {key: value for key, value in said.items() if value}


def _counts(api: Any, handle: Any) -> bool:
    return bool(count(call(api, "nvmlDeviceGetTotalEnergyConsumption", handle), 1 << 62))


def _tells_power(api: Any, handle: Any) -> bool:
    return bool(count(call(api, "nvmlDeviceGetPowerUsage", handle), 10**8))


def _reasons(api: Any, handle: Any) -> tuple[Throttle, ...]:
    mask = call(api, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if mask is None:  # the name before driver 535
        mask = call(api, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    bits = count(mask, 1 << 63) or 0
    return tuple(reason for bit, reason in _REASONS.items() if bits & bit)


def _limit_w(api: Any, handle: Any) -> float | None:
    """That of the whole board, also where a program gets a slice of it."""
    milliwatts = count(call(api, "nvmlDeviceGetEnforcedPowerLimit", handle), 10**7)
    return pci.limit_w(milliwatts and milliwatts * 1000)


def _switch(modes: Any) -> str | None:
    """NVML tells [now, after the next reset]."""
    now = modes[0] if isinstance(modes, (list, tuple)) and modes else None
    return {0: "off", 1: "on"}.get(now) if isinstance(now, int) else None


def _pcie(api: Any, handle: Any, when: str) -> str | None:
    generation = count(call(api, f"nvmlDeviceGet{when}PcieLinkGeneration", handle), 32)
    width = count(call(api, f"nvmlDeviceGet{when}PcieLinkWidth", handle), 64)
    return f"{generation}.0 x{width}" if generation and width else None


def _driver(api: Any) -> str:
    version = clean(text(call(api, "nvmlSystemGetDriverVersion")))
    cuda = count(call(api, "nvmlSystemGetCudaDriverVersion_v2"), 1 << 20)
    return f"{version}, CUDA {cuda // 1000}.{cuda % 1000 // 10}" if version and cuda else version


def _unit(factor: float, unit: str, value: Any) -> str | None:
    known = count(value, 1 << 40)
    return f"{known * factor:g} {unit}" if known else None

"""NVIDIA's GPUs through NVML (``nvidia-ml-py``). Every call may fail alone; no driver and no GPU is an empty tuple.

``nvml`` in the signatures is the module, given by tests. Not run on hardware.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from phibench.nouns import Device
from phibench.probe.cpu import clean

# nvmlClocksEventReasons (nvml.h); idle and settings made by the user are no throttling
_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)",
    0x80: "power brake", 0x400: "reliability voltage",
}  # fmt: skip
_TOP = 1 << 50  # bytes; a figure above it is a driver's mistake
_NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED
_VGPU = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU
# Boards without a memory of their own: DGX Spark and Jetson (names from memory)
_INTEGRATED = re.compile(r"\b(GB10|Thor|Orin|Xavier|Tegra|nvgpu)\b")


class _Gpu(NamedTuple):
    """``part`` is the MIG slice of ``whole`` that a program gets; clocks, power and heat belong to the whole."""

    whole: Any
    part: Any = None


def devices(nvml: Any = None) -> tuple[Device, ...]:
    """What CUDA programs of this process see, as ``cuda:0``, ... with NVML's order (that of the PCI bus)."""
    with _open(nvml) as api:
        if api is None:
            return ()
        found = [_device(api, gpu, f"cuda:{i}") for i, gpu in enumerate(_visible(api))]
    if len({device.name for device in found}) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        note = "numbered as on the PCI bus; CUDA counts from the fastest unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set"
        return tuple(msgspec.structs.replace(device, notes=(*device.notes, note)) for device in found)
    return tuple(found)


def processes(nvml: Any = None) -> int | None:
    """How many other processes compute on the GPUs; None where NVML does not tell.

    In a container NVML may tell the host's numbers: then this process counts as another one while it computes.
    """
    with _open(nvml) as api:
        if api is None:
            return None
        lists = [_call(api, "nvmlDeviceGetComputeRunningProcesses", gpu.whole) for gpu in _visible(api)]
    known = [found for found in lists if isinstance(found, list)]
    others = {getattr(p, "pid", None) for found in known for p in found} - {os.getpid(), None}
    return len(others) if known else None


def throttle(nvml: Any = None) -> tuple[str, ...]:
    """Why GPUs run below their clock now, in words."""
    with _open(nvml) as api:
        if api is None:
            return ()
        return tuple(dict.fromkeys(reason for gpu in _visible(api) for reason in _reasons(api, gpu.whole)))


@contextlib.contextmanager
def _open(nvml: Any) -> Iterator[Any]:
    """The module, initialised; None where there is no driver. Old ``pynvml`` packages lack calls: those are None."""
    try:
        api = nvml or importlib.import_module("pynvml")
        api.nvmlInit()
    except Exception:  # noqa: BLE001  no library, no driver, a driver of another version: no GPU for us
        yield None
        return
    try:
        yield api
    finally:
        with contextlib.suppress(Exception):
            api.nvmlShutdown()


def _call(api: Any, name: str, *arguments: Any) -> Any:
    try:
        return getattr(api, name)(*arguments)
    except Exception:  # noqa: BLE001  NotSupported, NoPermission, an attribute that this version lacks
        return None


def _visible(api: Any) -> list[_Gpu]:
    """CUDA_VISIBLE_DEVICES names GPUs by number or UUID, MIG slices by UUID; a wrong or repeated one ends the list.

    Of a GPU that is cut into slices a program gets one, the first if it names none (NVIDIA's MIG user guide).
    """
    count = _count(_call(api, "nvmlDeviceGetCount"), 1024) or 0
    handles = [handle for i in range(count) if (handle := _call(api, "nvmlDeviceGetHandleByIndex", i)) is not None]
    cut = [[_Gpu(handle, part) for part in _slices(api, handle)] or [_Gpu(handle)] for handle in handles]
    words = os.environ.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        return [gpus[0] for gpus in cut]
    named = [(_text(_call(api, "nvmlDeviceGetUUID", gpus[0].whole)), gpus[0]) for gpus in cut]
    named += [(_text(_call(api, "nvmlDeviceGetUUID", gpu.part)), gpu) for gpus in cut for gpu in gpus if gpu.part]
    chosen: list[_Gpu] = []
    for word in map(str.strip, words.split(",")):
        if re.fullmatch("[0-9]{1,4}", word):
            gpu = cut[int(word)][0] if int(word) < len(cut) else None
        else:
            gpu = next((gpu for uuid, gpu in named if word and uuid.startswith(word)), None)
        if gpu is None or any(gpu is other for other in chosen):
            break
        chosen.append(gpu)
    return chosen


def _is_cut(api: Any, handle: Any) -> bool:
    mode = _call(api, "nvmlDeviceGetMigMode", handle)
    return isinstance(mode, (list, tuple)) and bool(mode) and mode[0] == 1


def _slices(api: Any, handle: Any) -> list[Any]:
    most = _count(_call(api, "nvmlDeviceGetMaxMigDeviceCount", handle), 64) if _is_cut(api, handle) else 0
    parts = (_call(api, "nvmlDeviceGetMigDeviceHandleByIndex", handle, i) for i in range(most or 0))
    return [part for part in parts if part is not None]


def _device(api: Any, gpu: _Gpu, kind: str) -> Device:
    one = gpu.whole if gpu.part is None else gpu.part
    names = (clean(_text(_call(api, "nvmlDeviceGetName", handle))) for handle in (one, gpu.whole))
    name = next(filter(None, names), "NVIDIA GPU")
    total, free, shared = _memory(api, one)
    shared = shared or bool(_INTEGRATED.search(name))
    spec = None if shared or gpu.part is not None else _bandwidth(api, gpu.whole)
    rate, because, notes = spec, "NVML: highest memory clock x 2 x bus width" if spec else "NVML tells none", []
    if shared:
        because = "NVML tells none for memory that is shared with the processor"
        notes.append("its memory is the machine's, as on GB10 and Jetson")
    if _is_cut(api, gpu.whole):
        rate, because = None, "a MIG slice has a part of the GPU's, and NVML does not tell which"
        notes.append("MIG is on: a program gets one slice of the GPU")
        if gpu.part is None:  # not one that this process may see: what the whole has says nothing
            total = free = None
    if _call(api, "nvmlDeviceGetVirtualizationMode", gpu.whole) == _VGPU:
        rate, because = None, "a virtual GPU shares its bandwidth with others"
        notes.append("a virtual GPU: others use the same hardware")
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
        facts=_facts(api, gpu.whole),
        notes=tuple(notes),
    )


def _memory(api: Any, handle: Any) -> tuple[int | None, int | None, bool]:
    """Total and free bytes, and whether the driver says that there is no such memory (GB10, Jetson)."""
    try:
        memory = api.nvmlDeviceGetMemoryInfo(handle)
    except AttributeError:
        return None, None, False
    except Exception as error:  # noqa: BLE001  NotSupported tells something, any other failure nothing
        return None, None, getattr(error, "value", None) == _NOT_SUPPORTED or "Not Supported" in str(error)
    total, free = (_count(getattr(memory, key, None), _TOP) for key in ("total", "free"))
    return total or None, free if total and free is not None and free <= total else None, False


def _bandwidth(api: Any, handle: Any) -> float | None:
    """Bytes per second: NVML's clock counts once per two transfers, for GDDR and HBM alike.

    Agrees with data sheets: RTX 4090 10501 MHz x 2 x 384 bits = 1008 GB/s, A100 40 GB 1215 x 2 x 5120 = 1555.
    B200 was told 512 bits too wide by early drivers (github.com/pytorch/ao/pull/4002).
    """
    megahertz = _count(_call(api, "nvmlDeviceGetMaxClockInfo", handle, getattr(api, "NVML_CLOCK_MEM", 2)), 1 << 17)
    bits = _count(_call(api, "nvmlDeviceGetMemoryBusWidth", handle), 1 << 15)
    rate = megahertz * 1e6 * 2 * bits / 8 if megahertz and bits else 0.0
    return rate if 1e9 <= rate <= 4e13 else None


def _facts(api: Any, handle: Any) -> dict[str, str]:
    """What the driver says, as text with units; what it does not say is left out."""
    ecc, mig = (_call(api, f"nvmlDeviceGet{name}Mode", handle) for name in ("Ecc", "Mig"))
    energy = _count(_call(api, "nvmlDeviceGetTotalEnergyConsumption", handle), 1 << 62)
    said: dict[str, str | None] = {
        "power_limit": _unit(1e-3, "W", _call(api, "nvmlDeviceGetEnforcedPowerLimit", handle)),
        "power_limit_default": _unit(1e-3, "W", _call(api, "nvmlDeviceGetPowerManagementDefaultLimit", handle)),
        "clock": _unit(1, "MHz", _call(api, "nvmlDeviceGetClockInfo", handle, getattr(api, "NVML_CLOCK_SM", 1))),
        "clock_max": _unit(1, "MHz", _call(api, "nvmlDeviceGetMaxClockInfo", handle, getattr(api, "NVML_CLOCK_SM", 1))),
        "memory_clock_max": _unit(
            1, "MHz", _call(api, "nvmlDeviceGetMaxClockInfo", handle, getattr(api, "NVML_CLOCK_MEM", 2))
        ),
        "throttle": ", ".join(_reasons(api, handle)) or None,
        "ecc": _switch(ecc),
        "mig": _switch(mig),
        "pcie": _pcie(api, handle, "Curr"),  # an idle GPU slows it down
        "pcie_max": _pcie(api, handle, "Max"),
        "energy_counter": "yes" if energy else "no",
    }
    return {key: value for key, value in said.items() if value}


def _reasons(api: Any, handle: Any) -> tuple[str, ...]:
    mask = _call(api, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if mask is None:  # the name before driver 535
        mask = _call(api, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    bits = _count(mask, 1 << 63) or 0
    return tuple(text for bit, text in _REASONS.items() if bits & bit)


def _switch(modes: Any) -> str | None:
    """NVML tells [now, after the next reset]."""
    now = modes[0] if isinstance(modes, (list, tuple)) and modes else None
    return {0: "off", 1: "on"}.get(now) if isinstance(now, int) else None


def _pcie(api: Any, handle: Any, when: str) -> str | None:
    generation = _count(_call(api, f"nvmlDeviceGet{when}PcieLinkGeneration", handle), 32)
    width = _count(_call(api, f"nvmlDeviceGet{when}PcieLinkWidth", handle), 64)
    return f"{generation}.0 x{width}" if generation and width else None


def _driver(api: Any) -> str:
    version = clean(_text(_call(api, "nvmlSystemGetDriverVersion")))
    cuda = _count(_call(api, "nvmlSystemGetCudaDriverVersion_v2"), 1 << 20)
    return f"{version}, CUDA {cuda // 1000}.{cuda % 1000 // 10}" if version and cuda else version


def _count(value: Any, most: int) -> int | None:
    """A number that a driver could mean."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _unit(factor: float, unit: str, value: Any) -> str | None:
    count = _count(value, 1 << 40)
    return f"{count * factor:g} {unit}" if count else None

"""NVIDIA's GPUs through NVML (``nvidia-ml-py``). Every call may fail alone; no driver and no GPU is an empty tuple.

``nvml`` in the signatures is the module, given by tests. Not run on hardware.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from phibench.nouns import Device
from phibench.probe.cpu import clean

# nvmlClocksEventReasons (nvml.h); idle and settings made by the user are no throttling
_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)",
    0x80: "power brake", 0x400: "reliability voltage",
}  # fmt: skip
_TOP = 1 << 50  # bytes; a figure above it is a driver's mistake


def devices(nvml: Any = None) -> tuple[Device, ...]:
    """What CUDA programs of this process see, as ``cuda:0``, ... with NVML's order (that of the PCI bus)."""
    with _open(nvml) as api:
        if api is None:
            return ()
        handles = list(_handles(api))
        found = [_device(api, handle, f"cuda:{i}") for i, handle in enumerate(handles)]
    if len({device.name for device in found}) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        note = "numbered as on the PCI bus; CUDA counts from the fastest unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set"
        return tuple(_noted(device, note) for device in found)
    return tuple(found)


def processes(nvml: Any = None) -> int | None:
    """How many other processes compute on the GPUs; None where NVML does not tell."""
    with _open(nvml) as api:
        if api is None:
            return None
        lists = [_call(api, "nvmlDeviceGetComputeRunningProcesses", handle) for handle in _handles(api)]
    known = [found for found in lists if isinstance(found, list)]
    others = {getattr(p, "pid", None) for found in known for p in found} - {os.getpid(), None}
    return len(others) if known else None


def throttle(nvml: Any = None) -> tuple[str, ...]:
    """Why GPUs run below their clock now, in words."""
    with _open(nvml) as api:
        if api is None:
            return ()
        return tuple(dict.fromkeys(reason for handle in _handles(api) for reason in _reasons(api, handle)))


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


def _handles(api: Any) -> Iterator[Any]:
    """Visible devices: CUDA_VISIBLE_DEVICES names them by number or by UUID, and a wrong one ends the list."""
    count = _count(_call(api, "nvmlDeviceGetCount"), 1024) or 0
    found = [handle for i in range(count) if (handle := _call(api, "nvmlDeviceGetHandleByIndex", i)) is not None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        yield from found
        return
    for word in visible.split(","):
        text = word.strip()
        if text.isdecimal():
            chosen = found[int(text)] if int(text) < len(found) else None
        else:
            uuids = {_text(_call(api, "nvmlDeviceGetUUID", handle)): handle for handle in found}
            chosen = next((h for uuid, h in uuids.items() if text and uuid.startswith(text)), None)
        if chosen is None:
            return
        yield chosen


def _device(api: Any, handle: Any, kind: str) -> Device:
    memory = _call(api, "nvmlDeviceGetMemoryInfo", handle)
    total, free = (_count(getattr(memory, key, None), _TOP) for key in ("total", "free"))
    name = clean(_text(_call(api, "nvmlDeviceGetName", handle))) or "NVIDIA GPU"
    bandwidth = _bandwidth(api, handle)
    notes = []
    mig = _call(api, "nvmlDeviceGetMigMode", handle)
    if isinstance(mig, (list, tuple)) and mig and mig[0] == 1:
        notes.append("MIG is on: a program gets one slice, whose memory and speed are less than these")
    if total is None:
        notes.append("NVML tells no memory: it is shared with the processor, as on GB10 and Jetson")
    return Device(
        kind=kind,
        name=name,
        memory_bytes=total,
        free_bytes=free,
        shares_memory=total is None,
        read_bytes_s=bandwidth,
        spec_read_bytes_s=bandwidth,
        basis="spec" if bandwidth else None,
        because="NVML: highest memory clock x 2 x bus width" if bandwidth else "NVML tells no clock or bus width",
        driver=_driver(api),
        facts=_facts(api, handle),
        notes=tuple(notes),
    )


def _bandwidth(api: Any, handle: Any) -> float | None:
    """Bytes per second: NVML's clock counts once per two transfers, for GDDR and HBM alike.

    Checked against data sheets: RTX 4090 10501 MHz x 2 x 384 bits = 1008 GB/s, A100 40 GB 1215 x 2 x 5120 = 1555.
    """
    megahertz = _count(_call(api, "nvmlDeviceGetMaxClockInfo", handle, getattr(api, "NVML_CLOCK_MEM", 2)), 1 << 17)
    bits = _count(_call(api, "nvmlDeviceGetMemoryBusWidth", handle), 1 << 15)
    rate = megahertz * 1e6 * 2 * bits / 8 if megahertz and bits else 0.0
    return rate if 1e9 <= rate <= 4e13 else None


def _facts(api: Any, handle: Any) -> dict[str, str]:
    """What the driver says, as text with units; what it does not say is left out."""
    watts, clocks = _milliwatts, _megahertz
    ecc = _call(api, "nvmlDeviceGetEccMode", handle)
    energy = _count(_call(api, "nvmlDeviceGetTotalEnergyConsumption", handle), 1 << 62)
    said: dict[str, str | None] = {
        "power_limit": watts(_call(api, "nvmlDeviceGetEnforcedPowerLimit", handle)),
        "power_limit_default": watts(_call(api, "nvmlDeviceGetPowerManagementDefaultLimit", handle)),
        "clock": clocks(_call(api, "nvmlDeviceGetClockInfo", handle, getattr(api, "NVML_CLOCK_SM", 1))),
        "clock_max": clocks(_call(api, "nvmlDeviceGetMaxClockInfo", handle, getattr(api, "NVML_CLOCK_SM", 1))),
        "memory_clock_max": clocks(_call(api, "nvmlDeviceGetMaxClockInfo", handle, getattr(api, "NVML_CLOCK_MEM", 2))),
        "throttle": ", ".join(_reasons(api, handle)) or None,
        "ecc": {0: "off", 1: "on"}.get(ecc[0]) if isinstance(ecc, (list, tuple)) and ecc else None,
        "pcie": _pcie(api, handle),
        "energy_counter": "yes" if energy else "no",
    }
    return {key: value for key, value in said.items() if value}


def _reasons(api: Any, handle: Any) -> tuple[str, ...]:
    mask = _call(api, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if mask is None:  # the name before driver 535
        mask = _call(api, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    bits = _count(mask, 1 << 63) or 0
    return tuple(text for bit, text in _REASONS.items() if bits & bit)


def _pcie(api: Any, handle: Any) -> str | None:
    generation = _count(_call(api, "nvmlDeviceGetCurrPcieLinkGeneration", handle), 32)
    width = _count(_call(api, "nvmlDeviceGetCurrPcieLinkWidth", handle), 64)
    return f"{generation}.0 x{width}" if generation and width else None


def _driver(api: Any) -> str:
    version = clean(_text(_call(api, "nvmlSystemGetDriverVersion")))
    cuda = _count(_call(api, "nvmlSystemGetCudaDriverVersion_v2"), 1 << 20)
    return f"{version}, CUDA {cuda // 1000}.{cuda % 1000 // 10}" if version and cuda else version


def _noted(device: Device, note: str) -> Device:
    import msgspec

    return msgspec.structs.replace(device, notes=(*device.notes, note))


def _count(value: Any, most: int) -> int | None:
    """A number that a driver could mean."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _scaled(unit: str, factor: float) -> Callable[[Any], str | None]:
    def say(value: Any) -> str | None:
        count = _count(value, 1 << 40)
        return f"{count * factor:g} {unit}" if count else None

    return say


_milliwatts = _scaled("W", 1e-3)
_megahertz = _scaled("MHz", 1)

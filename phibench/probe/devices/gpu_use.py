"""How busy and how full an NVIDIA GPU is at a moment: proof of where a model ran, beside the engine's own word."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from phibench.core import units
from phibench.core.nouns import Noun
from phibench.probe.devices import nvml


class Use(Noun, frozen=True, kw_only=True):
    """``used_bytes`` by all processes; ``busy``: share of the last sampling period with a kernel at work (NVML)."""

    used_bytes: int | None
    busy: float | None


def use(device: str, api: Any = None) -> Use | None:
    """Of ``cuda:1`` (``cuda`` is the first); None where no driver answers for it."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    with nvml.opened(api) as found:
        gpus = nvml.visible(found) if found else []
        if int(index or 0) >= len(gpus):
            return None
        gpu = gpus[int(index or 0)]
        rates = nvml.call(found, "nvmlDeviceGetUtilizationRates", gpu.whole)
        percent = nvml.count(getattr(rates, "gpu", None), 100)
        return Use(used_bytes=_used_bytes(found, gpu), busy=None if percent is None else percent / 100)


@contextlib.contextmanager
def taken(device: str, pid: int, api: Any = None) -> Iterator[Callable[[], int | None]]:
    """A reader of the bytes that a process has on ``cuda:1`` now: as the driver counts them for the process, else
    what all processes have taken since. It answers None where no driver tells, and for other kinds of devices."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        yield lambda: None
        return
    with nvml.opened(api) as found:
        gpus = nvml.visible(found) if found else []
        gpu = gpus[int(index or 0)] if int(index or 0) < len(gpus) else None
        before = _used_bytes(found, gpu) if gpu else None

        def read() -> int | None:
            if gpu is None:
                return None
            own = _own_bytes(found, gpu, pid)
            used = _used_bytes(found, gpu) if own is None and before is not None else None
            return own if used is None or before is None else max(0, used - before)

        yield read


def _used_bytes(api: Any, gpu: nvml.Gpu) -> int | None:
    """By all processes; None where memory is shared: NVML knows no more of it than what the firmware set aside."""
    part = gpu.part if gpu.part is not None else gpu.whole
    if nvml.shares_memory(api, part, nvml.name_of(api, gpu)):
        return None
    return nvml.count(getattr(nvml.call(api, "nvmlDeviceGetMemoryInfo", part), "used", None), nvml.MOST_BYTES)


def _own_bytes(api: Any, gpu: nvml.Gpu, pid: int) -> int | None:
    """None where the driver does not name the process (a container has numbers of its own), or not its memory."""
    part = gpu.part if gpu.part is not None else gpu.whole
    found = nvml.call(api, "nvmlDeviceGetComputeRunningProcesses", part)
    own = [p for p in found if getattr(p, "pid", None) == pid] if isinstance(found, list | tuple) else []
    return nvml.count(getattr(own[0], "usedGpuMemory", None), nvml.MOST_BYTES) if own else None


def gauges(device: str, api: Any = None) -> dict[str, float | None]:
    """Heat, clock and power of ``cuda:1`` now, as NVML tells them."""
    index = device.partition(":")[2]
    with nvml.opened(api) as found:
        gpus = nvml.visible(found) if found else []
        if int(index or 0) >= len(gpus):
            return {}
        whole = gpus[int(index or 0)].whole
        degrees = nvml.count(nvml.call(found, "nvmlDeviceGetTemperature", whole, 0), 200)  # NVML_TEMPERATURE_GPU
        megahertz = nvml.count(nvml.call(found, "nvmlDeviceGetClockInfo", whole, 1), 100_000)  # NVML_CLOCK_SM
        milliwatts = nvml.count(nvml.call(found, "nvmlDeviceGetPowerUsage", whole), 10**7)
        return {
            "gpu_temp_c": degrees,
            "gpu_hz": None if megahertz is None else 1e6 * megahertz,
            "gpu_w": None if milliwatts is None else milliwatts / 1e3,
        }


def told(device: str, before: Use | None, after: Use | None) -> tuple[str, ...]:
    """What a GPU gained while the model was open and how busy it was; nothing where that is not known."""
    if before is None or after is None:
        return ()
    lines = []
    if before.used_bytes is not None and after.used_bytes is not None:
        lines.append(
            f"NVML: {device} had {units.gib(before.used_bytes)} in use before the model was opened, "
            f"{units.gib(after.used_bytes)} at the end"
        )
    if after.busy is not None:
        lines.append(f"NVML: {device} was busy {after.busy:.0%} of the last sampling period")
    return tuple(lines)

"""Heat, clocks and power as sensors show them, between two repetitions."""

from __future__ import annotations

from collections.abc import Callable

from phibench.probe.system import cpu, gauges


def of(device: str) -> Callable[[], dict[str, float]]:
    """A reader of what this machine shows for the device; each figure only where there is a sensor."""

    def read() -> dict[str, float]:
        seen = {"cpu_temp_c": gauges.temperature_c(cpu.ROOT), "cpu_hz": gauges.clock_hz(cpu.ROOT), **_gpu(device)}
        return {name: value for name, value in seen.items() if value is not None}

    return read


def _gpu(device: str) -> dict[str, float | None]:
    if not device.startswith("cuda"):
        return {}
    from phibench.probe.devices import gpu_use

    return gpu_use.gauges(device)

"""The battery and the mains: power_supply in sysfs, psutil elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from phibench.probe.energy.access import Access
from phibench.probe.energy.hwmon import MOST_UW
from phibench.probe.energy.place import Place, listed, one_place, word
from phibench.probe.system import cpu, text_files

_SUPPLY = "sys/class/power_supply"


def supply(root: Path = cpu.ROOT) -> Literal["mains", "battery"] | None:
    """What the machine runs on; None where nobody tells, as on a desktop without any battery.

    Batteries of mice and headsets (``scope`` Device) say nothing about the machine.
    """
    states, plugs = [], []
    for folder in _supplies(root):
        if word(folder / "type") == "Battery":
            states.append(word(folder / "status"))
        elif (online := text_files.number(folder / "online")) is not None:
            plugs.append(online > 0)  # 2: a programmable USB supply
    if any(plugs):
        return "mains"
    if "Discharging" in states:
        return "battery"
    if {"Charging", "Full", "Not charging"} & set(states):
        return "mains"
    return _psutil_supply() if root == cpu.ROOT else None


def _psutil_supply() -> Literal["mains", "battery"] | None:
    import psutil

    with contextlib.suppress(OSError, ValueError, RuntimeError, psutil.Error):
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        if battery is not None and battery.power_plugged is not None:
            return "mains" if battery.power_plugged else "battery"
    return None


def found(root: Path) -> Iterator[Place]:
    """Batteries tell the power of the whole machine, screen included, and only while they are what feeds it."""
    on = supply(root)
    for folder in _supplies(root):
        if word(folder / "type") != "Battery" or text_files.number(folder / "present") == 0:
            continue
        status = word(folder / "status") or "unknown"
        why = _no_watts(battery_uw(folder))
        if on == "mains" or status != "Discharging":
            why = f"it does not power the machine now ({status.lower()}): unplug the power supply"
        yield one_place("battery", folder, f"battery {cpu.clean(folder.name)}", "system_dc", "power", Access(why))


def battery_uw(folder: Path) -> int | None:
    """``power_now`` µW, else ``current_now`` µA x ``voltage_now`` µV; some drivers count discharging as negative."""
    power, current, volts = (text_files.number(folder / f"{kind}_now") for kind in ("power", "current", "voltage"))
    if power is None and current is not None and volts is not None:
        power = current * volts // 10**6
    return None if power is None else abs(power)


def _no_watts(power_uw: int | None) -> str:
    if power_uw is None:
        return "reports no power"
    return "" if 0 < power_uw <= MOST_UW else f"reports nonsense ({power_uw} µW)"


def _supplies(root: Path) -> list[Path]:
    return [f for f in listed(root / _SUPPLY, r".{1,100}") if word(f / "scope") != "Device"]

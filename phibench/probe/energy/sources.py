"""Where energy and power can be read on this machine, and what is missing where they cannot.

Named, not measured: a meter (phibench/meters) opens what is ``readable``. Parts that lie inside another source, or
repeat it, say so in ``overlaps``, so that nobody adds them up. Not run on hardware: the machines this was
written on have no such counter; layouts are from the kernel's documentation (ABI/testing/sysfs-class-powercap,
sysfs-class-power, gpu/amdgpu/thermal, hwmon/*).
"""

from __future__ import annotations

import contextlib
import errno
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from phibench.core.nouns import Device, Source
from phibench.probe.devices import apple
from phibench.probe.energy import emi, perf
from phibench.probe.energy.access import Access
from phibench.probe.system import cpu, text_files

Scope = Literal["cpu_package", "cpu_core", "dram", "gpu_board", "gpu_die", "soc", "system_dc", "system_ac"]
Kind = Literal["rapl", "perf", "hwmon", "ina3221", "nvml", "emi", "battery", "ioreport"]

_POWERCAP = "sys/class/powercap"
_HWMON = "sys/class/hwmon"
_SUPPLY = "sys/class/power_supply"
_MOST_UW = 100_000_000_000  # 100 kW: no part of one computer takes more

# Names of RAPL zones up to the first "-" or ":"; uncore is the integrated GPU of client parts (PP1).
_ZONES: dict[str, Scope] = {
    "package": "cpu_package",
    "core": "cpu_core",
    "uncore": "gpu_die",
    "dram": "dram",
    "psys": "system_dc",
}
# hwmon driver -> label of a channel -> what it measures; labels that are not named are parts of those that are.
_CHIPS: dict[str, dict[str, Scope]] = {
    "amdgpu": {".*": "gpu_board"},  # or the whole APU, see _amdgpu_scope
    "i915": {"|card": "gpu_board"},
    "xe": {"|card": "gpu_board", "pkg": "gpu_die"},
    "amd_energy": {"Esocket[0-9]+": "cpu_package"},
    "zenpower": {"SVI2_P_Core": "cpu_core", "RAPL_P_Package": "cpu_package"},
    "power_meter": {".*": "system_ac"},  # ACPI: what the power supplies of a server take
}


class Place(NamedTuple):
    """A source and where a meter reads it. ``apart``: it adds up with others of its kind, is no part and no copy.

    ``why`` it cannot be read, "" where it can.
    """

    source: Source
    kind: Kind
    at: Path = Path()  # the file of a counter or sensor; the folder of a battery; perf's event; EMI's Channel.at
    apart: bool = True
    why: str = ""


def sources(root: Path = cpu.ROOT, gpus: tuple[Device, ...] = ()) -> tuple[Source, ...]:
    """Every energy counter and power sensor that is present, readable or not; empty where the system has none.

    ``gpus`` are devices that were probed already, with their ``energy_method``.
    Nothing is changed and no privilege is asked for; what would grant access is one line, ``grant``.
    """
    return tuple(place.source for place in places(root, gpus))


def places(root: Path = cpu.ROOT, gpus: tuple[Device, ...] = ()) -> tuple[Place, ...]:
    """The same with what a meter needs to read them."""
    zones = tuple(_rapl(root))
    package = next((zone.source.name for zone in zones if zone.source.scope == "cpu_package"), "")
    found = (
        *zones,
        *(_event(found) for found in perf.sources(root, rapl=bool(package))),
        *_hwmon(root, package),
        *(_nvml(gpu) for gpu in gpus if gpu.kind.startswith("cuda")),
        *_batteries(root),
    )
    return (*found, *_elsewhere()) if root == cpu.ROOT else found


def _event(found: perf.Found) -> Place:
    name = f"perf {found.event}"
    place = _place("perf", Path(found.event), name, found.scope, "counter", found.access, found.overlaps)
    return place._replace(apart=found.apart)


def _elsewhere() -> Iterator[Place]:
    """Systems that show no files."""
    if sys.platform == "darwin":
        yield _place("ioreport", Path(), "IOReport", "soc", "counter", apple.energy_access())
    channels = emi.channels() if sys.platform == "win32" else ()
    for channel in channels:
        scope, part = emi.scope(channel.name)
        if scope:
            yield _place("emi", channel.at, f"EMI {channel.name}", scope, "counter", Access(), part)


def supply(root: Path = cpu.ROOT) -> Literal["mains", "battery"] | None:
    """What the machine runs on; None where nobody tells, as on a desktop without any battery.

    Batteries of mice and headsets (``scope`` Device) say nothing about the machine.
    """
    states, plugs = [], []
    for folder in _supplies(root):
        if _word(folder / "type") == "Battery":
            states.append(_word(folder / "status"))
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


# --------------------------------------------------------------------------------------------------- RAPL


def _rapl(root: Path) -> Iterator[Place]:
    """Zones of ``intel-rapl`` (AMD's too) and of ``intel-rapl-mmio``, which repeats its package."""
    folders = _listed(root / _POWERCAP, r"intel-rapl(-[a-z]+)?(:[0-9]{1,4}){1,2}")
    if any(folder.is_symlink() and not folder.exists() for folder in folders):
        why = "hidden from this container: docker run --security-opt systempaths=unconfined shows it"
        yield _place("rapl", root / _POWERCAP, "RAPL", "cpu_package", "counter", Access(why))
        return
    names = {folder.name: _word(folder / "name") for folder in folders}
    primary = {_zone(names, zone) for zone in names if zone.startswith("intel-rapl:")}
    for folder in folders:
        scope = _ZONES.get(names[folder.name].partition("-")[0])
        if scope is None:
            continue
        name, (control, *path) = _zone(names, folder.name), folder.name.split(":")
        parent = names.get(f"{control}:{path[0]}", "") or "package"
        overlap = ""
        if control != "intel-rapl" and name in primary:
            name, overlap = f"{name} ({control.removeprefix('intel-rapl-')})", f"{name}: the same counter"
        elif scope in {"cpu_core", "gpu_die"}:
            overlap = f"{parent}: a part of it"
        elif scope == "system_dc":
            overlap = "package: it holds every package and more"
        access = _counter(
            folder / "energy_uj", f"/{_POWERCAP}/{folder.name}/energy_uj", f"/{_POWERCAP}/{control}:*/energy_uj"
        )
        yield _place("rapl", folder / "energy_uj", f"RAPL {name}", scope, "counter", access, overlap)


def _zone(names: dict[str, str], zone: str) -> str:
    """``package-0``, ``package-0 core``, ``psys``."""
    parent, child = names.get(":".join(zone.split(":")[:2]), ""), names[zone]
    return child if parent == child or not parent else f"{parent} {child}"


def _counter(path: Path, shown: str, alike: str = "") -> Access:
    """To a counter in µJ. One at 0 is not counting: 15 µJ pass in a millisecond."""
    found = _read(path, shown, alike)
    highest = text_files.number(path.parent / "max_energy_range_uj")  # of RAPL: where it wraps
    if found.value is None:
        return found.access
    if found.value < 0 or (highest and found.value > highest):
        return Access(f"tells nonsense ({found.value} µJ)")
    return Access("" if found.value else "stands at 0, as in a virtual machine")


# -------------------------------------------------------------------------------------------------- hwmon


def _hwmon(root: Path, package: str) -> Iterator[Place]:
    for folder in _listed(root / _HWMON, r"hwmon[0-9]{1,4}"):
        driver, shown = _word(folder / "name"), f"/{_HWMON}/{folder.name}"
        if driver == "ina3221":
            yield from _jetson(folder, shown)
        scopes = {file: scope for file, label in _channels(folder) if (scope := _chip_scope(driver, label, folder))}
        for file, scope in scopes.items():
            overlap = "card: a part of it" if scope == "gpu_die" and "gpu_board" in scopes.values() else ""
            if scope == "cpu_core":
                overlap = f"{package or 'the package'}: a part of it"
            elif package and scope == "cpu_package":
                overlap = package
            label = _word(folder / f"{file.partition('_')[0]}_label")
            name = f"{driver} {folder.name} {label}".strip()
            apart = scope not in {"gpu_die", "cpu_core"}
            path, told = folder / file, f"{shown}/{file}"
            if file.startswith("energy"):
                place = _place("hwmon", path, name, scope, "counter", _counter(path, told), overlap)
            else:
                place = _place("hwmon", path, name, scope, "power", _watts(_read(path, told)), overlap)
            yield place._replace(apart=apart)


def _channels(folder: Path) -> Iterator[tuple[str, str]]:
    """File and label of each energy counter, or where there is none of each power sensor."""
    for kind in ("energy", "power"):
        files = [path.name for path in _listed(folder, rf"{kind}[0-9]{{1,4}}_(average|input)")]
        single = {file.partition("_")[0]: file for file in sorted(files, reverse=True)}  # average before input
        if files:
            yield from ((file, _word(folder / f"{channel}_label")) for channel, file in single.items())
            return


def _chip_scope(driver: str, label: str, folder: Path) -> Scope | None:
    if driver == "amdgpu" and (folder / "in1_input").exists():  # a northbridge voltage: APUs only
        return "soc"  # their power1_average includes the processor
    labels = _CHIPS.get(driver, {})
    return next((scope for pattern, scope in labels.items() if re.fullmatch(pattern, label)), None)


def _jetson(folder: Path, shown: str) -> Iterator[Place]:
    """The input rail of the module; the other rails are parts of it."""
    for n in range(1, 5):
        if _word(folder / f"in{n}_label") in {"VDD_IN", "POM_5V_IN"}:
            both = [_read(folder / f"{kind}{n}_input", f"{shown}/{kind}{n}_input") for kind in ("in", "curr")]
            access = next((found.access for found in both if found.access.why), Access())
            yield _place(
                "ina3221", folder / f"in{n}_input", f"INA3221 {_word(folder / f'in{n}_label')}", "soc", "power", access
            )


def _watts(found: _Found) -> Access:
    """To a power in µW."""
    if found.value is None:
        return found.access
    return Access("" if 0 <= found.value <= _MOST_UW else f"tells nonsense ({found.value} µW)")


# ---------------------------------------------------------------------------------------- GPUs, batteries


def _nvml(gpu: Device) -> Place:
    """Its counter, else its power, which the driver only samples."""
    method = gpu.energy_method or "counter"
    why = "its driver tells neither energy nor power (some laptops, virtual GPUs, Jetson)"
    access = Access("" if gpu.energy_method else why)
    return _place("nvml", Path(gpu.kind), f"NVML {gpu.kind}", "gpu_board", method, access)


def _batteries(root: Path) -> Iterator[Place]:
    """They tell the power of the whole machine, screen included, and only while they are what feeds it."""
    on = supply(root)
    for folder in _supplies(root):
        if _word(folder / "type") != "Battery" or text_files.number(folder / "present") == 0:
            continue
        status = _word(folder / "status") or "unknown"
        why = _no_watts(battery_uw(folder))
        if on == "mains" or status != "Discharging":
            why = f"it is not what feeds the machine ({status.lower()}): unplug the power supply"
        yield _place("battery", folder, f"battery {cpu.clean(folder.name)}", "system_dc", "power", Access(why))


def battery_uw(folder: Path) -> int | None:
    """``power_now`` µW, else ``current_now`` µA x ``voltage_now`` µV; some drivers count discharging as negative."""
    power, current, volts = (text_files.number(folder / f"{kind}_now") for kind in ("power", "current", "voltage"))
    if power is None and current is not None and volts is not None:
        power = current * volts // 10**6
    return None if power is None else abs(power)


def _no_watts(power_uw: int | None) -> str:
    if power_uw is None:
        return "tells no power"
    return "" if 0 < power_uw <= _MOST_UW else f"tells nonsense ({power_uw} µW)"


def _supplies(root: Path) -> list[Path]:
    return [f for f in _listed(root / _SUPPLY, r".{1,100}") if _word(f / "scope") != "Device"]


# ------------------------------------------------------------------------------------------------- reading


class _Found(NamedTuple):
    value: int | None
    access: Access = Access()


def _read(path: Path, shown: str, alike: str = "") -> _Found:
    """A number, or why there is none; ``shown`` is the path on this machine, ``alike`` a pattern for all like it."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            value = text_files.integer(stream.read(64))
    except PermissionError as error:
        if error.errno == errno.EPERM:  # the driver's answer, not the file's mode: amdgpu's for a card that sleeps
            return _Found(None, Access("the driver does not answer now: a sleeping GPU does once it is in use"))
        grant = f"sudo chmod o+r {alike or shown}"
        return _Found(None, Access(f"needs read access to {shown}: {grant} (until the next boot)", grant))
    except OSError as error:
        return _Found(None, Access(f"cannot be read: {cpu.clean(error.strerror or 'unknown error')}"))
    return _Found(value, Access("" if value is not None else "tells no number"))


def _place(
    kind: Kind, at: Path, name: str, scope: Scope, method: Literal["counter", "power"], access: Access,
    overlaps: str = "",
) -> Place:  # fmt: skip
    because = "; ".join(filter(None, (access.why, overlaps and f"overlaps {overlaps}")))
    source = Source(name=name, scope=scope, method=method, readable=not access.why, because=because,
                    grant=access.grant, overlaps=overlaps)  # fmt: skip
    return Place(source, kind, at, apart=not overlaps, why=access.why)


def _word(path: Path) -> str:
    return cpu.clean(text_files.text(path, 200))


def _listed(folder: Path, pattern: str) -> list[Path]:
    """Entries of a folder whose whole name matches, numbers in their order."""
    try:
        names = [entry.name for entry in folder.iterdir() if re.fullmatch(pattern, entry.name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda n: [int(d) for d in re.findall("[0-9]{1,9}", n)] or [0])]

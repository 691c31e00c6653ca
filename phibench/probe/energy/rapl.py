"""Energy counters of the processor: powercap in sysfs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from phibench.probe.energy.access import Access
from phibench.probe.energy.place import Place, Scope, listed, one_place, read, word
from phibench.probe.system import text_files

_POWERCAP = "sys/class/powercap"


# Names of RAPL zones up to the first "-" or ":"; uncore is the integrated GPU of client parts (PP1).
_ZONES: dict[str, Scope] = {
    "package": "cpu_package",
    "core": "cpu_core",
    "uncore": "gpu_die",
    "dram": "dram",
    "psys": "system_dc",
}


def rapl(root: Path) -> Iterator[Place]:
    """Zones of ``intel-rapl`` (AMD's too) and of ``intel-rapl-mmio``, which repeats its package."""
    folders = listed(root / _POWERCAP, r"intel-rapl(-[a-z]+)?(:[0-9]{1,4}){1,2}")
    if any(folder.is_symlink() and not folder.exists() for folder in folders):
        why = "hidden from this container: docker run --security-opt systempaths=unconfined shows it"
        yield one_place("rapl", root / _POWERCAP, "RAPL", "cpu_package", "counter", Access(why))
        return
    names = {folder.name: word(folder / "name") for folder in folders}
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
        access = counter_uj(
            folder / "energy_uj", f"/{_POWERCAP}/{folder.name}/energy_uj", f"/{_POWERCAP}/{control}:*/energy_uj"
        )
        yield one_place("rapl", folder / "energy_uj", f"RAPL {name}", scope, "counter", access, overlap)


def _zone(names: dict[str, str], zone: str) -> str:
    """``package-0``, ``package-0 core``, ``psys``."""
    parent, child = names.get(":".join(zone.split(":")[:2]), ""), names[zone]
    return child if parent == child or not parent else f"{parent} {child}"


def counter_uj(path: Path, shown: str, alike: str = "") -> Access:
    """To a counter in µJ. One at 0 is not counting: 15 µJ pass in a millisecond."""
    found = read(path, shown, alike)
    highest = text_files.number(path.parent / "max_energy_range_uj")  # of RAPL: where it wraps
    if found.value is None:
        return found.access
    if found.value < 0 or (highest and found.value > highest):
        return Access(f"reports nonsense ({found.value} µJ)")
    return Access("" if found.value else "stands at 0, as in a virtual machine")

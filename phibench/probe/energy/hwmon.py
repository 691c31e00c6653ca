"""Power sensors of boards and chips: hwmon in sysfs, INA3221 of a Jetson among them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from phibench.probe.energy.access import Access
from phibench.probe.energy.place import Found, Place, Scope, listed, one_place, read, word
from phibench.probe.energy.rapl import counter_uj

_HWMON = "sys/class/hwmon"


MOST_UW = 100_000_000_000  # 100 kW: no part of one computer takes more


# hwmon driver -> label of a channel -> what it measures; labels that are not named are parts of those that are.
_CHIPS: dict[str, dict[str, Scope]] = {
    "amdgpu": {".*": "gpu_board"},  # or the whole APU, see _amdgpu_scope
    "i915": {"|card": "gpu_board"},
    "xe": {"|card": "gpu_board", "pkg": "gpu_die"},
    "amd_energy": {"Esocket[0-9]+": "cpu_package"},
    "zenpower": {"SVI2_P_Core": "cpu_core", "RAPL_P_Package": "cpu_package"},
    "power_meter": {".*": "system_ac"},  # ACPI: what the power supplies of a server take
}


def hwmon(root: Path, package: str) -> Iterator[Place]:
    for folder in listed(root / _HWMON, r"hwmon[0-9]{1,4}"):
        driver, shown = word(folder / "name"), f"/{_HWMON}/{folder.name}"
        if driver == "ina3221":
            yield from _jetson(folder, shown)
        scopes = {file: scope for file, label in _channels(folder) if (scope := _chip_scope(driver, label, folder))}
        for file, scope in scopes.items():
            overlap = "card: a part of it" if scope == "gpu_die" and "gpu_board" in scopes.values() else ""
            if scope == "cpu_core":
                overlap = f"{package or 'the package'}: a part of it"
            elif package and scope == "cpu_package":
                overlap = package
            label = word(folder / f"{file.partition('_')[0]}_label")
            name = f"{driver} {folder.name} {label}".strip()
            apart = scope not in {"gpu_die", "cpu_core"}
            path, told = folder / file, f"{shown}/{file}"
            if file.startswith("energy"):
                place = one_place("hwmon", path, name, scope, "counter", counter_uj(path, told), overlap)
            else:
                place = one_place("hwmon", path, name, scope, "power", watts(read(path, told)), overlap)
            yield place._replace(apart=apart)


def _channels(folder: Path) -> Iterator[tuple[str, str]]:
    """File and label of each energy counter, or where there is none of each power sensor."""
    for kind in ("energy", "power"):
        files = [path.name for path in listed(folder, rf"{kind}[0-9]{{1,4}}_(average|input)")]
        single = {file.partition("_")[0]: file for file in sorted(files, reverse=True)}  # average before input
        if files:
            yield from ((file, word(folder / f"{channel}_label")) for channel, file in single.items())
            return


def _chip_scope(driver: str, label: str, folder: Path) -> Scope | None:
    if driver == "amdgpu" and (folder / "in1_input").exists():  # a northbridge voltage: APUs only
        return "soc"  # their power1_average includes the processor
    labels = _CHIPS.get(driver, {})
    return next((scope for pattern, scope in labels.items() if re.fullmatch(pattern, label)), None)


def _jetson(folder: Path, shown: str) -> Iterator[Place]:
    """The input rail of the module; the other rails are parts of it."""
    for n in range(1, 5):
        if word(folder / f"in{n}_label") in {"VDD_IN", "POM_5V_IN"}:
            both = [read(folder / f"{kind}{n}_input", f"{shown}/{kind}{n}_input") for kind in ("in", "curr")]
            access = next((found.access for found in both if found.access.why), Access())
            yield one_place(
                "ina3221", folder / f"in{n}_input", f"INA3221 {word(folder / f'in{n}_label')}", "soc", "power", access
            )


def watts(found: Found) -> Access:
    """To a power in µW."""
    if found.value is None:
        return found.access
    return Access("" if 0 <= found.value <= MOST_UW else f"reports nonsense ({found.value} µW)")

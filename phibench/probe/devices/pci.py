"""What the graphics drivers of Linux show under ``/sys/class/drm``: one folder per card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from phibench.probe.system import text_files
from phibench.probe.system.cpu import clean

_LISTS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids", "usr/share/pci.ids")  # Debian, Fedora and Arch, Alpine
_LIST_CHARS = 1 << 23  # it has 1.5 MB


def cards(root: Path, vendor: str, drivers: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """(device folder, driver) of every card of ``vendor`` ("0x1002"), in the order of their numbers.

    A card whose driver is another one (vfio, nouveau) belongs to somebody else.
    """
    try:
        names = sorted((f.name for f in (root / "sys/class/drm").iterdir()), key=lambda name: (len(name), name))
    except OSError:
        return
    for name in names:
        folder = root / "sys/class/drm" / name / "device"
        if re.fullmatch(r"card[0-9]{1,3}", name) and word(folder / "vendor") == vendor:
            name_of = driver(folder)
            if name_of in drivers:
                yield folder, name_of


def word(path: Path) -> str:
    return clean(text_files.text(path, 200))


def identity(folder: Path) -> str:
    """``1002:15bf``, as ``lspci -nn`` writes it."""
    vendor, device = _numbers(folder)
    return f"{vendor}:{device}" if vendor and device else ""


def _numbers(folder: Path) -> tuple[str, str]:
    """Of vendor and device, in hexadecimal; "" where the system does not say."""
    return word(folder / "vendor").removeprefix("0x"), word(folder / "device").removeprefix("0x")


def listed(root: Path, folder: Path) -> str:
    """What lspci calls the chip, where the list that it reads is installed: ``Navi 33 [Radeon RX 7600/7600 XT]``."""
    vendor, device = _numbers(folder)
    lists = (text_files.text(root / place, _LIST_CHARS) for place in _LISTS)
    text = next(filter(None, lists), "")
    maker = re.compile(rf"^{vendor}  ", re.MULTILINE).search(text) if vendor and device else None
    if maker is None:
        return ""
    following = re.compile(r"\n[0-9a-f]").search(text, maker.end())
    chip = re.compile(rf"\n\t{device}  (.+)").search(text, maker.end(), following.start() if following else len(text))
    return clean(chip[1]) if chip else ""


def sensor(folder: Path, *files: str) -> int | None:
    """The first of these hwmon files that holds a number."""
    try:
        monitors = sorted((folder / "hwmon").iterdir())
    except OSError:
        return None
    found = (text_files.number(monitor / file) for file in files for monitor in monitors)
    return next((number for number in found if number is not None and number >= 0), None)


def watts(microwatts: int | None) -> str | None:
    return f"{microwatts / 1e6:g} W" if microwatts else None


def limit_w(microwatts: int | None) -> float | None:
    """Of a power limit; below a watt it is none."""
    return microwatts / 1e6 if microwatts and microwatts >= 10**6 else None


def driver(folder: Path) -> str:
    """Its name is that of the folder that the link ``driver`` points to; ``uevent`` tells it too."""
    return _event(folder, "DRIVER")


def slot(folder: Path) -> str:
    """``0000:03:00.0``: domain, bus, device and function."""
    return _event(folder, "PCI_SLOT_NAME")


def _event(folder: Path, key: str) -> str:
    found = re.search(rf"^{key}=([\w:.-]{{1,40}})$", text_files.text(folder / "uevent", 4096), re.MULTILINE)
    return found[1] if found else ""

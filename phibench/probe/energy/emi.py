"""Windows' Energy Meter Interface: counters of the processor's packages, without an administrator (emi.h).

Structures and codes are from Microsoft's emi.h and the page "Energy Meter Interface"; the names of channels are those
that Windows 11 gives RAPL's registers (``RAPL_Package0_PKG``). Not run on hardware: only the parsing is tested.
"""

from __future__ import annotations

import ctypes
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

JOULES = 3.6e-9  # of one picowatt-hour, the only unit that there is (EMI_MEASUREMENT_UNIT)
_GUID = "45bd83447ed649cfa440c276c933b053"  # GUID_DEVICE_ENERGY_METER
_VERSION, _METADATA_SIZE, _METADATA, _MEASUREMENT = 0x224000, 0x224004, 0x224008, 0x22400C  # IOCTL_EMI_GET_*
_NAMES = 16 * 2 * 2  # bytes of HardwareOEM and HardwareModel: EMI_NAME_MAX characters each
_PRESENT, _INTERFACE = 0x2, 0x10  # DIGCF_PRESENT, DIGCF_DEVICEINTERFACE (setupapi.h)
_SHARE, _EXISTING, _READ = 0x3, 3, 0x80000000  # FILE_SHARE_READ | WRITE, OPEN_EXISTING, GENERIC_READ
_INVALID = ctypes.c_void_p(-1).value

_Scope = Literal["cpu_package", "cpu_core", "dram", "gpu_die"]
_CHANNELS: tuple[tuple[str, _Scope, str], ...] = (
    (r"RAPL_Package[0-9]+_PKG", "cpu_package", ""),
    (r"RAPL_Package[0-9]+_DRAM", "dram", ""),
    (r"RAPL_Package[0-9]+_PP0", "cpu_core", "the package: a part of it"),
    (r"RAPL_Package[0-9]+_PP1", "gpu_die", "the package: a part of it"),
    (r"Current Socket Energy", "cpu_package", ""),  # AMD's name for the package
)


class Channel(NamedTuple):
    """One of the ``of`` counters of a device, at ``place``."""

    name: str
    device: str
    place: int
    of: int

    @property
    def at(self) -> Path:
        """Which one it is; two devices may call theirs the same."""
        return Path(self.device, str(self.place))


def scope(name: str) -> tuple[_Scope | None, str]:
    """What a channel counts, and of what it is a part; None of those that are of no use here (single cores)."""
    return next(((found, part) for pattern, found, part in _CHANNELS if re.fullmatch(pattern, name)), (None, ""))


def channels() -> tuple[Channel, ...]:
    """Every counter that this process may read; empty elsewhere than on Windows."""
    return tuple(channel for device in _devices() for channel in _channels(device))


def counts(device: str, count: int) -> list[int]:
    """What each channel of a device stands at, in picowatt-hours. Raises OSError where it does not answer."""
    with _Handle(device) as handle:
        found = parse_measurement(handle.ask(_MEASUREMENT, 16 * count))
    if len(found) < count:
        raise OSError("the energy meter's answer is cut")
    return found


def parse_metadata(data: bytes, version: int) -> list[str]:
    """Names of the channels, in order. EMI_METADATA_V1 is one channel, EMI_METADATA_V2 a list of them."""
    if version == 1:
        if len(data) < 4 + _NAMES + 4:
            return []
        (size,) = struct.unpack_from("<H", data, 4 + _NAMES + 2)
        return [_text(data[4 + _NAMES + 4 :][:size])]
    if version != 2 or len(data) < _NAMES + 4:
        return []
    (count,) = struct.unpack_from("<H", data, _NAMES + 2)
    names: list[str] = []
    start = _NAMES + 4
    while len(names) < count and start + 6 <= len(data):
        unit, size = struct.unpack_from("<IH", data, start)
        if unit or start + 6 + size > len(data):
            return []  # another unit than picowatt-hours, or cut off
        names.append(_text(data[start + 6 : start + 6 + size]))
        start += 6 + size
    return names if len(names) == count else []


def parse_measurement(data: bytes) -> list[int]:
    """EMI_CHANNEL_MEASUREMENT_DATA: AbsoluteEnergy and AbsoluteTime, 8 bytes each, a pair for each channel."""
    return [energy for energy, _ in struct.iter_unpack("<QQ", data[: len(data) // 16 * 16])]


def _text(data: bytes) -> str:
    return data.decode("utf-16-le", "replace").split("\0", 1)[0]


def _channels(device: str) -> Iterator[Channel]:
    try:
        with _Handle(device) as handle:
            (version,) = struct.unpack("<H", handle.ask(_VERSION, 2))
            (size,) = struct.unpack("<I", handle.ask(_METADATA_SIZE, 4))
            names = parse_metadata(handle.ask(_METADATA, min(size, 1 << 16)), version)
    except (OSError, struct.error):
        return
    yield from (Channel(name, device, place, len(names)) for place, name in enumerate(names))


class _Handle:
    """An open device; raises OSError where it cannot be opened or does not answer."""

    def __init__(self, device: str) -> None:
        self._kernel = _library("kernel32")
        if self._kernel is None:
            raise OSError("no Windows")
        self._kernel.CreateFileW.restype = ctypes.c_void_p
        opened = self._kernel.CreateFileW(ctypes.c_wchar_p(device), _READ, _SHARE, None, _EXISTING, 0, None)
        if opened == _INVALID:
            raise OSError("the energy meter cannot be opened")
        self._handle = ctypes.c_void_p(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.CloseHandle(self._handle)

    def ask(self, code: int, size: int) -> bytes:
        buffer, got = ctypes.create_string_buffer(size), ctypes.c_ulong(0)
        if not self._kernel.DeviceIoControl(self._handle, code, None, 0, buffer, size, ctypes.byref(got), None):
            raise OSError("the energy meter does not answer")
        return buffer.raw[: got.value]


class _Interface(ctypes.Structure):
    """SP_DEVICE_INTERFACE_DATA"""

    _fields_ = (("size", ctypes.c_ulong), ("guid", ctypes.c_byte * 16), ("flags", ctypes.c_ulong),
                ("reserved", ctypes.c_void_p))  # fmt: skip


def _devices() -> Iterator[str]:
    """Paths of all energy meters: SetupDiEnumDeviceInterfaces."""
    setup = _library("setupapi")
    if setup is None:
        return
    fields = struct.pack("<IHH8s", int(_GUID[:8], 16), int(_GUID[8:12], 16), int(_GUID[12:16], 16),
                         bytes.fromhex(_GUID[16:]))  # fmt: skip
    guid = ctypes.create_string_buffer(fields, 16)
    setup.SetupDiGetClassDevsW.restype = ctypes.c_void_p
    listed = setup.SetupDiGetClassDevsW(guid, None, None, _PRESENT | _INTERFACE)
    if listed == _INVALID:
        return
    devices = ctypes.c_void_p(listed)
    try:
        for index in range(256):
            one = _Interface(size=ctypes.sizeof(_Interface))
            if not setup.SetupDiEnumDeviceInterfaces(devices, None, guid, index, ctypes.byref(one)):
                return
            if path := _path(setup, devices, one):
                yield path
    finally:
        setup.SetupDiDestroyDeviceInfoList(devices)


def _path(setup: Any, devices: ctypes.c_void_p, one: _Interface) -> str:
    """SetupDiGetDeviceInterfaceDetailW: a size, then the path; the size is the structure's own, as it is packed."""
    needed = ctypes.c_ulong(0)
    setup.SetupDiGetDeviceInterfaceDetailW(devices, ctypes.byref(one), None, 0, ctypes.byref(needed), None)
    if not 4 < needed.value < 1 << 16:
        return ""
    buffer = ctypes.create_string_buffer(needed.value)
    struct.pack_into("<I", buffer, 0, 8 if ctypes.sizeof(ctypes.c_void_p) == 8 else 6)
    told = setup.SetupDiGetDeviceInterfaceDetailW(devices, ctypes.byref(one), buffer, needed, None, None)
    return _text(buffer.raw[4:]) if told else ""


def _library(name: str) -> Any:
    return getattr(ctypes, "WinDLL", lambda _: None)(name) if sys.platform == "win32" else None

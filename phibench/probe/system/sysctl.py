"""macOS answers by name; empty or None where it does not know the name, and on every other system."""

from __future__ import annotations

import ctypes
import sys


def text(name: str) -> str:
    return _raw(name).rstrip(b"\0").decode("utf-8", "replace")


def number(name: str) -> int | None:
    """An integer of 4 or 8 bytes."""
    raw = _raw(name)
    return int.from_bytes(raw, sys.byteorder, signed=True) if len(raw) in {4, 8} else None


def _raw(name: str) -> bytes:
    if sys.platform != "darwin":
        return b""
    call = ctypes.CDLL(None).sysctlbyname
    size = ctypes.c_size_t(0)
    if call(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return b""
    buffer = ctypes.create_string_buffer(size.value)
    if call(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return b""
    return buffer.raw[: size.value]

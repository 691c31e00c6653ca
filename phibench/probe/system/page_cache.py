"""Pages of files in the system's cache: put them there, or ask the system to drop them, and look."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from phibench.core.errors import NotMeasurableError

_BLOCK = 16 << 20
_COLD_SHARE = 0.02  # of the pages that may still be there: the system keeps what another program maps


def prepare(artifact: Path | None, wanted: Literal["cold", "warm"]) -> None:
    """All files of the artifact are in the page cache afterwards, or none of them.

    Raises NotMeasurableError where there is no file, or the system does not do it.
    """
    if artifact is None:
        raise NotMeasurableError("its weights are made in memory, so nothing is loaded from a disk")
    for file in _files(artifact):
        _warm(file) if wanted == "warm" else _drop(file)
    if wanted == "cold" and (share := cached_share(artifact)) > _COLD_SHARE:
        raise NotMeasurableError(
            f"{share:.0%} of {artifact.name} stays in the page cache, so it cannot be opened cold; "
            "end the program that maps it, or put the cache on a disk (PHIBENCH_CACHE), not in memory"
        )


def cached_share(artifact: Path) -> float:
    """Share of the artifact's pages that are in memory now (mincore). NotMeasurableError where it cannot be asked."""
    seen = total = 0
    for file in _files(artifact):
        pages, there = _resident(file)
        total, seen = total + pages, seen + there
    return seen / total if total else 0.0


def _files(artifact: Path) -> Iterator[Path]:
    if artifact.is_dir():
        yield from (file for file in sorted(artifact.rglob("*")) if file.is_file() and file.stat().st_size)
    else:
        yield artifact


def _warm(file: Path) -> None:
    with file.open("rb", buffering=0) as stream, mmap.mmap(-1, _BLOCK) as buffer:
        while stream.readinto(buffer):
            pass


def _drop(file: Path) -> None:
    """Pages that no program maps, once they are on the disk."""
    if not hasattr(os, "posix_fadvise"):
        raise NotMeasurableError(f"phibench cannot empty the page cache on {sys.platform}")
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resident(file: Path) -> tuple[int, int]:
    """(pages, of them in memory)."""
    size = file.stat().st_size
    count = -(-size // mmap.PAGESIZE)
    vector = (ctypes.c_ubyte * count)()
    library = ctypes.CDLL(None, use_errno=True)
    with file.open("rb") as stream:
        library.mmap.restype = ctypes.c_void_p
        address = library.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, stream.fileno(),
                               ctypes.c_long(0))  # fmt: skip
    if address in (None, ctypes.c_void_p(-1).value):
        raise NotMeasurableError(f"{file.name} cannot be mapped to see whether it is in memory")
    try:
        if library.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), vector):
            raise NotMeasurableError(f"the system does not report whether {file.name} is in memory")
    finally:
        library.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return count, sum(byte & 1 for byte in vector)

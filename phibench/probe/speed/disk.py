"""How fast the disk under the cache folder gives a model back, past the page cache."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from phibench.core import units
from phibench.core.nouns import Storage

_SIZE = 256 << 20
_BLOCK = 4 << 20
_SPARE_BYTES = 2 << 30  # no file is written for curiosity where little is left
_MOST_BYTES_S = 60e9  # above what four PCIe 5 drives read together: that was memory


def storage(folder: Path, size: int = _SIZE) -> Storage:
    """Free bytes, and the read speed of a file of random bytes that is written, dropped from memory and deleted."""
    folder = _existing(folder)
    free = free_bytes(folder)
    if free is None:
        return Storage(because="not measured: the folder cannot be read")
    if free < _SPARE_BYTES + size:
        return Storage(free_bytes=free, because=f"not measured: {units.gib(free)} free, less than 2 GiB to spare")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".speed-", buffering=0) as file:
            _fill(file.fileno(), size)
            rate, how = _read(file.name, file.fileno(), size)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return Storage(free_bytes=free, because=f"not measured: {why}")
    if rate > _MOST_BYTES_S:
        return Storage(free_bytes=free, because="not measured: the page cache answered, not the disk")
    return Storage(free_bytes=free, read_bytes_s=rate, because=f"{units.gib(size)} in order, {how}")


def free_bytes(folder: Path) -> int | None:
    """Of the disk that ``folder`` is on, or will be on once it is made."""
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    return next((f for f in (folder, *folder.parents) if f.is_dir()), folder)


def _fill(file: int, size: int) -> None:
    block = os.urandom(_BLOCK)  # nothing that a disk or a file system could compress
    for start in range(0, size, _BLOCK):
        os.write(file, start.to_bytes(8, "little") + block[8:])
    os.fsync(file)


def _read(name: str, file: int, size: int) -> tuple[float, str]:
    """Bytes per second and how the page cache was kept out. Raises ValueError where it cannot be."""
    with contextlib.suppress(OSError, AttributeError):
        direct = os.open(name, os.O_RDONLY | os.O_DIRECT)
        try:
            return _timed(direct, size), "past the page cache (O_DIRECT)"
        finally:
            os.close(direct)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(file, 0, os.SEEK_SET)
        return _timed(file, size), "dropped from the page cache before"
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(file, fcntl.F_NOCACHE, 1)
        os.lseek(file, 0, os.SEEK_SET)
        return _timed(file, size), "past the page cache (F_NOCACHE)"
    raise ValueError("this system has no way around its page cache")


def _timed(file: int, size: int) -> float:
    """Into page-aligned memory, as direct reading asks for."""
    with mmap.mmap(-1, _BLOCK) as buffer:
        done = 0
        start = time.perf_counter()
        while got := os.readv(file, [buffer]):
            done += got
        took = time.perf_counter() - start
    if done != size:
        raise ValueError("the file was cut while it was read")
    return done / max(took, 1e-9)

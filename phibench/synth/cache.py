"""The folders of synthetic files: how large they may grow, who may write, and what goes first.

An entry is a file or a whole folder, in the folder of its format; limit and lock are common to all.

One process writes at a time (a lock that the system drops when its holder dies), so room is counted once and
any ``.part`` seen under the lock was left by a killed process.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from phibench import catalog
from phibench.core import folders, units
from phibench.core.errors import FAILED, PhibenchError
from phibench.core.units import gb

DEFAULT_LIMIT_BYTES = 40_000_000_000  # four of the largest dense variants in Q4_K_M; our choice
_POLL_S = 0.05
_LOCKED = "gguf"  # where the lock has always been


def folder(fmt: str = _LOCKED) -> Path:
    """Of a format; without one, the folder that has the lock."""
    return folders.cache_dir() / fmt


def writer(fmt: str) -> ModuleType | None:
    """The module that writes files of a format; None where they are never on a disk."""
    name = f"{__package__}.{fmt}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def entries() -> tuple[tuple[Path, int, float], ...]:
    """(path, bytes, time of last use in seconds since the epoch), least recently used first."""
    found = []
    for path in (path for fmt, made in _writers().items() for path in folder(fmt).glob(made.ENTRIES)):
        with contextlib.suppress(OSError):  # deleted by another process just now
            found.append((path, _size(path), path.stat().st_mtime))
    return tuple(sorted(found, key=lambda entry: entry[2]))


def _writers() -> dict[str, ModuleType]:
    """Formats with the module that writes them. ``ENTRIES`` of one is what an entry is called in its folder."""
    found = {fmt: writer(fmt) for fmt in catalog.formats()}
    return {fmt: made for fmt, made in found.items() if made}


def ensure(
    path: Path, total: int, progress: Callable[[int, int], None] | None, *,
    is_whole: Callable[[], bool], check: Callable[[], object], write: Callable[[], None],
) -> None:  # fmt: skip
    """An entry of ``total`` bytes is at ``path`` afterwards, used now; ``check`` fails before anything is evicted."""
    if not is_whole():
        check()
        with only_writer(lambda done: progress and progress(done, total)):
            if not is_whole():  # another process may have written it meanwhile
                make_room(total, replacing=path)
                write()
    touch(path)


def touch(path: Path) -> None:
    """Mark as used now."""
    with contextlib.suppress(OSError):  # a cache that may only be read still serves
        os.utime(path)


def sweep() -> None:
    """Delete what a writer that was ended has left, unless another writes just now: that one has done it already."""
    with contextlib.suppress(OSError, PhibenchError), (folder() / ".lock").open("ab") as lock:
        if _try_lock(lock.fileno()):
            for path in _parts():
                _delete(path)


def clear() -> int:
    """Delete every synthetic file; the bytes freed."""
    with only_writer():
        return sum(size for path, size, _ in entries() if _delete(path))


def limit_bytes() -> int:
    """``$PHIBENCH_CACHE_LIMIT``, else 40 GB or half of what the disk could give us, whichever is less."""
    if text := os.environ.get("PHIBENCH_CACHE_LIMIT"):
        return units.size_bytes(text)
    return min(DEFAULT_LIMIT_BYTES, (_free_bytes() + _total_bytes()) // 2)


def room_bytes(reserve_bytes: int = 0) -> int:
    """Largest new file that the limit allows and the disk can hold, all others evicted, ``reserve_bytes`` left free."""
    return max(0, min(limit_bytes(), _free_bytes() + _total_bytes() - reserve_bytes))


def make_room(needed_bytes: int, replacing: Path | None = None) -> None:
    """Evict least recently used files until ``needed_bytes`` fit below the limit and on the disk.

    ``replacing`` is the file that is about to be written: what lies there now goes first.
    Raises PhibenchError (exit 1) before anything is deleted when even an empty cache would not do.
    """
    limit, total, free = limit_bytes(), _total_bytes(), _free_bytes()
    if needed_bytes > limit:
        raise PhibenchError(
            f"a synthetic file of {gb(needed_bytes)} is more than the cache may hold ({gb(limit)}); set "
            f"PHIBENCH_CACHE_LIMIT={-(-needed_bytes // 10**9)}GB or measure a slice with --layers",
            FAILED,
        )
    if needed_bytes > free + total:
        raise PhibenchError(
            f"a synthetic file of {gb(needed_bytes)} does not fit in {folder()}, where only {gb(free + total)} is "
            "available; free some, set PHIBENCH_CACHE to another disk, or measure a slice with --layers",
            FAILED,
        )
    for path, size, _ in sorted(entries(), key=lambda entry: (entry[0] != replacing, entry[2])):
        fits = total + needed_bytes <= limit and needed_bytes <= free
        if (path == replacing or not fits) and _delete(path):
            total, free = total - size, free + size


@contextlib.contextmanager
def only_writer(waiting: Callable[[int], object] | None = None) -> Iterator[None]:
    """Hold the cache's lock; ``waiting`` hears how many bytes the process before us has written so far."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        for fmt in _writers():
            folder(fmt).mkdir(exist_ok=True)
        lock = (folder() / ".lock").open("ab")
    except OSError as error:
        raise PhibenchError(f"cannot use the cache {folder()}: {error.strerror}; set PHIBENCH_CACHE", FAILED) from None
    with lock:
        while not _try_lock(lock.fileno()):
            if waiting:
                waiting(sum(_written(path) for path in _parts()))
            time.sleep(_POLL_S)
        for path in _parts():
            _delete(path)
        yield


def _try_lock(handle: int) -> bool:
    """An exclusive lock that dies with the process; False when another holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise PhibenchError(
            f"cannot lock the cache {folder()}: {error.strerror}; set PHIBENCH_CACHE to a local disk", FAILED
        ) from None
    return True


def _parts() -> list[Path]:
    return [path for fmt in _writers() for path in folder(fmt).glob(".*.part")]


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder. Raises OSError when it is gone."""
    if path.is_dir():
        return sum(inner.stat().st_size for inner in path.iterdir())
    return path.stat().st_size


def _written(path: Path) -> int:
    try:
        return _size(path)
    except OSError:
        return 0


def _total_bytes() -> int:
    return sum(size for _, size, _ in entries())


def _free_bytes() -> int:
    existing = next(place for place in (folder(), *folder().absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def _delete(path: Path) -> bool:
    """False when the system will not let go of it (a file in use on Windows)."""
    try:
        if path.is_dir():
            _delete_folder(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _delete_folder(path: Path) -> None:
    """Under the name of what a killed process left, so that half a folder is never taken for a whole one."""
    if path.suffix != ".part":
        path = path.rename(path.with_name(f".{path.name}.part"))
    shutil.rmtree(path)

"""Pages of this process by what they hold, as Linux has them under ``/proc/self`` (proc(5), "smaps", "clear_refs").

Pages of files can be dropped and read again; a page of memory that belongs to no file must stay, or be swapped.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from phibench.core.nouns import Noun
from phibench.probe.system import cpu, text_files

_MOST_CHARS = 64 << 20  # some 90,000 mappings
_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S{4} [0-9a-f]+ ([0-9a-f]{1,8}):([0-9a-f]{1,8}) ([0-9]{1,20}) *(.*)$")
_FIELD = re.compile(r"^(Rss|Anonymous|Referenced): +([0-9]{1,15}) kB$")
_NO_FILES = ("/memfd:", "/dev/zero", "/SYSV")  # shared memory that has a name


class Anonymous(Noun, frozen=True, kw_only=True):
    """``bytes`` that belong to no file: private, shared and ``swapped``; ``resident_bytes``: of files as well."""

    bytes: int
    swapped: int
    resident_bytes: int


class FilePages(Noun, frozen=True, kw_only=True):
    """Bytes of mapped files that are in memory, and of these what was used since :func:`forget`."""

    artifact: int
    artifact_touched: int
    libraries: int
    libraries_touched: int


def anonymous(pid: int | None = None, root: Path = cpu.ROOT) -> Anonymous | None:
    """Of this process or another; cheap enough to be asked often. None where the system does not tell."""
    found = text_files.counters(root / f"proc/{pid or 'self'}/status")
    if "RssAnon" not in found:
        return None
    swapped = found.get("VmSwap", 0)
    return Anonymous(
        bytes=found["RssAnon"] + found.get("RssShmem", 0) + swapped,
        swapped=swapped,
        resident_bytes=found.get("VmRSS", 0),
    )


def forget(root: Path = cpu.ROOT) -> bool:
    """Every page counts as unused from now on. False where the kernel does not offer that, or not to this process."""
    with contextlib.suppress(OSError):
        (root / "proc/self/clear_refs").write_text("1", encoding="ascii")
        _flush()
        return True
    return False


def _flush() -> None:
    """What a processor remembers of a page it does not mark again: giving many pages back makes all of them forget.

    Linux flushes everything where more than 33 pages go at once (arch/x86/mm/tlb.c, tlb_single_page_flush_ceiling).
    """
    with mmap.mmap(-1, 1 << 20) as block:
        for place in range(0, len(block), mmap.PAGESIZE):
            block[place] = 1


def file_pages(artifact: Path | None, root: Path = cpu.ROOT) -> FilePages | None:
    """Of the file or folder that the model is read from, and of all others; None where the system does not tell."""
    text = text_files.text(root / "proc/self/smaps", _MOST_CHARS)
    if not text:
        return None
    own = os.path.realpath(artifact) if artifact else None
    memory = _in_memory(root)
    counts = {True: [0, 0], False: [0, 0]}
    for device, path, fields in _mappings(text):
        if device in memory or path.startswith(_NO_FILES):
            continue
        resident = max(0, fields.get("Rss", 0) - fields.get("Anonymous", 0))
        mine = own is not None and (path == own or path.startswith(own + os.sep))
        counts[mine][0] += resident
        counts[mine][1] += min(fields.get("Referenced", 0), resident)
    return FilePages(
        artifact=counts[True][0],
        artifact_touched=counts[True][1],
        libraries=counts[False][0],
        libraries_touched=counts[False][1],
    )


def _mappings(text: str) -> Iterator[tuple[str, str, dict[str, int]]]:
    """(device, path, field -> bytes) of every mapping of a file."""
    device, path, inode, fields = "", "", 0, dict[str, int]()
    for line in text.splitlines():
        if field := _FIELD.match(line):
            fields[field[1]] = int(field[2]) * 1024
        elif head := _HEAD.match(line):
            if inode:
                yield device, path, fields
            device = f"{int(head[1], 16)}:{int(head[2], 16)}"
            inode, path, fields = int(head[3]), head[4].removesuffix(" (deleted)"), {}
    if inode:
        yield device, path, fields


def _in_memory(root: Path) -> frozenset[str]:
    """Devices of file systems that live in memory: what is mapped from them is no page of a file."""
    lines = text_files.text(root / "proc/self/mountinfo").splitlines()
    found = (re.match(r"\S+ \S+ ([0-9]+:[0-9]+) .* - tmpfs ", line) for line in lines)
    return frozenset(match[1] for match in found if match)

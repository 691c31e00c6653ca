"""Text and numbers from files that belong to somebody else: ``/proc``, ``/sys``, or a recorded copy of them.

What is missing, forbidden or nonsense is empty or None: no probe ever stops a run.
"""

from __future__ import annotations

import re
from pathlib import Path

_MOST = 1 << 62  # more than any counter of bytes shows that is not damaged
_MOST_CHARS = 4 << 20  # mountinfo of a host with thousands of containers stays below


def text(path: Path, most: int = _MOST_CHARS) -> str:
    """The first ``most`` characters of a file, or nothing."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(most)
    except (OSError, ValueError):  # ValueError: a NUL byte in a path that another file named
        return ""


def integer(word: str) -> int | None:
    """A decimal number that 63 bits can hold, or None."""
    found = re.fullmatch(r"\s*(-?[0-9]{1,19})\s*", word)
    return int(found[1]) if found and abs(int(found[1])) < 1 << 63 else None


def number(path: Path) -> int | None:
    """The number that is all of a small file."""
    return integer(text(path, 64))


def cpu_list(words: str) -> frozenset[int]:
    """``0-3,8`` is {0, 1, 2, 3, 8}. Numbers beyond four digits are nonsense: Linux ends at 8192 cpus."""
    cpus: set[int] = set()
    for item in words.split(","):
        if found := re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", item):
            first = int(found[1])
            cpus.update(range(first, int(found[2] or first) + 1))
    return frozenset(cpus)


def counters(path: Path) -> dict[str, int]:
    """``name value`` lines (``memory.stat``, ``vmstat``, ``cpu.stat``) and ``name: value kB`` lines (``meminfo``).

    A last line that is cut off before its unit tells nothing, and so does a value that no noun can hold.
    """
    line = re.compile(r"^([\w()]+)(:?)[ \t]+([0-9]{1,19})([ \t]+kB)?[ \t\r]*(\n|\Z)", re.MULTILINE | re.ASCII)
    whole = [
        (name, value, unit) for name, colon, value, unit, end in line.findall(text(path)) if unit or end or not colon
    ]
    found = {name: int(value) * (1024 if unit else 1) for name, value, unit in whole}
    return {name: value for name, value in found.items() if value <= _MOST}

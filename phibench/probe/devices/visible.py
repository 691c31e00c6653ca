"""Which GPUs a variable such as CUDA_VISIBLE_DEVICES leaves to a program.

The rules are those of torch/cuda/__init__.py (_parse_visible_devices), which had to match the driver's: numbers are
read as strtoul reads them, the first that is negative or no number ends the list, one that stands twice empties it.
Names ("GPU-8f6f", the beginning of one is enough) and numbers are not mixed: the first entry decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

_NUMBER = re.compile(r"\+?[0-9]+")
_NAME = re.compile(r"(GPU|MIG)-")


def chosen(words: str, names: Sequence[str]) -> list[int]:
    """Places in ``names``, in the program's order."""
    entries = [word.strip() for word in words.split(",")]
    by_name = _NAME.match(entries[0])
    found: list[int] = []
    for entry in entries:
        place = _named(entry, names, by_name[0]) if by_name else _numbered(entry)
        if place is None:
            break
        if place in found:
            return []
        found.append(place)
    return list(takewhile(lambda place: place < len(names), found))


def _numbered(entry: str) -> int | None:
    """``1gpu`` is 1."""
    number = _NUMBER.match(entry)
    return int(number[0][:9]) if number else None


def _named(entry: str, names: Sequence[str], kind: str) -> int | None:
    """The only one that begins so."""
    fitting = [place for place, name in enumerate(names) if entry.startswith(kind) and name.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None

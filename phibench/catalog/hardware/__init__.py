"""Devices that people own, as their data sheets say: one row of a CSV file each, every row with its sources.

Names are found however tools and people write them (``names.py``). What a name leaves open is never guessed: it finds
nothing, and whoever asks may see which rows it could mean.

In: names. Out: the noun ``Hardware``.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from phibench.catalog.hardware.names import Reading, is_part, only_size, plain, reading, readings, squeezed, whole
from phibench.catalog.hardware.table import COLUMNS, rows
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Hardware

__all__ = ["COLUMNS", "agreed", "find", "named", "nearest", "rows", "unknown", "versions"]

_GIB = 1 << 30
# What a driver says of a card's memory is less than its name by what ECC and firmware keep (T4: 15109 of 16384 MiB,
# A10G: 22.5 of 24 GiB), and never more by more than a rounding of GB for GiB.
_TOLD_LEAST, _TOLD_MOST = 0.88, 1.03
_NEAREST = 3
_AT_HOME = ("gpu-desktop", "gpu-laptop", "igpu", "cpu", "soc")
_MOST_CHARS = 100  # of a name that is quoted


def find(name: str, memory_bytes: float | None = None, cores: int | None = None) -> Hardware | None:
    """The row that a name means, None where it means none or leaves open which.

    ``memory_bytes`` (as a driver tells it) and ``cores`` (physical, of the processor) choose between versions.
    """
    found = versions(name, memory_bytes, cores)
    return found[0] if len(found) == 1 else None


def named(name: str, memory_bytes: float | None = None, cores: int | None = None) -> Hardware:
    """As :func:`find`. Raises PhibenchError (exit 2) with the nearest names, or with all that it may mean."""
    found = versions(name, memory_bytes, cores)
    if not found:
        raise unknown(name)
    if len(found) > 1:
        one, *others = (f"'{row.name}'" for row in reversed(found))
        either = f"{', '.join(reversed(others))} or {one}"
        raise PhibenchError(f"'{name[:_MOST_CHARS]}' is sold in {len(found)} versions: write {either}")
    return found[0]


def unknown(name: str, kinds: Collection[str] = ()) -> PhibenchError:
    """The error for a name that no row has: what it is nearest to, and the remedy; ``kinds``: of these alone.

    Where it only says how much memory, which devices have so much; where it is a part of many names, some of them.
    """
    quoted, meant = name[:_MOST_CHARS], [row for row in rows() if not kinds or row.kind in kinds]
    size, by = only_size(name)
    if size and "cpu" in kinds:
        return PhibenchError(f"'{quoted}' says how much memory, not which processor: --ram {size}GiB says that")
    if size:
        sized = [row for row in meant if row.memory_bytes == size * _GIB and not row.shares_memory]
        sized = [row for row in sized if not by or row.vendor in by]
        told = f"{len(sized)} cards have that much, such as {_some(sized)}" if sized else "no such card has that much"
        return PhibenchError(
            f"'{quoted}' says how much memory, not which device: {told}; 'phibench hardware' lists all"
        )
    many = [row for row in meant if is_part(name, row)]
    if len(many) > 1:
        told = f"fits {len(many)} devices, such as {_some(many)}: write one of their names"
        return PhibenchError(f"'{quoted}' {told}; 'phibench hardware' lists all")
    near = ", ".join(f"'{row.name}'" for row in nearest(name, kinds))
    return PhibenchError(f"unknown hardware '{quoted}'; nearest: {near}; 'phibench hardware' lists all")


def _some(found: Sequence[Hardware]) -> str:
    """Of all speeds, from slow to fast; rather what stands on desks than in racks."""
    by_speed = sorted(found, key=lambda row: row.read_bytes_s or 0.0)
    by_speed = [row for row in by_speed if row.kind in _AT_HOME] or by_speed
    some = [by_speed[round(share * (len(by_speed) - 1) / (_NEAREST - 1))].name for share in range(_NEAREST)]
    return ", ".join(dict.fromkeys(some))


def versions(name: str, memory_bytes: float | None = None, cores: int | None = None) -> tuple[Hardware, ...]:
    """Every row that a name may mean; where memory is shared, with that which the name tells (``told_bytes``)."""
    index, found, read = _index(), dict[str, Hardware](), readings(name)
    own = index.whole.get(whole(name)) or index.whole.get(squeezed(name[:_MOST_CHARS]), ())
    if len(own) == 1 and _is_by(own[0].row, *read[:1]) and _fits(own[0], memory_bytes):
        return (own[0].row,)
    for meant in read:
        for one in index.of(meant.key):
            if _may_be(one, meant, memory_bytes, cores):
                found[one.row.name] = _as_told(one.row, meant)
    return tuple(found.values())


def nearest(name: str, kinds: Collection[str] = ()) -> tuple[Hardware, ...]:
    """The three rows (of ``kinds``, if there are any) whose names are most like it, the likest first."""
    import difflib

    wanted = next((read.key for read in readings(name)), "") or squeezed(name[:_MOST_CHARS])
    likeness = difflib.SequenceMatcher(autojunk=False)
    likeness.set_seq2(wanted)

    def like(row: Hardware) -> float:
        likeness.set_seq1(reading(row.name.lower()).key)
        return -likeness.ratio()

    return tuple(sorted((row for row in rows() if not kinds or row.kind in kinds), key=like)[:_NEAREST])


def agreed(found: Sequence[Hardware]) -> Hardware | None:
    """What all versions of one device have in common; figures in which they differ are unknown. None of unlike ones."""
    if len(found) < 2:
        return found[0] if found else None
    first = found[0]
    if any((r.kind, r.vendor, r.architecture) != (first.kind, first.vendor, first.architecture) for r in found):
        return None
    same = {
        key: getattr(first, key) for key in Hardware.__struct_fields__ if len({getattr(r, key) for r in found}) == 1
    }
    sources = "; ".join(dict.fromkeys(row.source for row in found))
    return Hardware(**{**same, "name": " or ".join(row.name for row in found), "source": sources})


# -------------------------------------------------------------------------------------------- matching


class _Entry(NamedTuple):
    """A row, what its names tell of its version, and whether they tell its memory."""

    row: Hardware
    told: frozenset[str]
    sized: bool


class _Index(NamedTuple):
    """``whole``: by all that a name says; ``keys``: by model; ``plain``: by model without "+"."""

    whole: dict[str, tuple[_Entry, ...]]
    keys: dict[str, tuple[_Entry, ...]]
    plain: dict[str, tuple[_Entry, ...]]

    def of(self, key: str) -> tuple[_Entry, ...]:
        return self.keys.get(key) or self.plain.get(key.replace("+", ""), ())


@functools.cache
def _index() -> _Index:
    by_whole, by_key, plainer = (defaultdict[str, dict[str, _Entry]](dict) for _ in range(3))
    for row in rows():
        own = reading(row.name.lower())
        cores = {f"{row.cores}cpu"} if row.cores and row.kind == "soc" else set[str]()
        one = _Entry(row, own.told | cores, own.memory_gb is not None)
        for name in (row.name, *row.also):
            by_whole[plain(name)][row.name] = by_whole[squeezed(name)][row.name] = one
            if name == row.name or "(" not in name:  # another name with an explanation is one only as a whole
                by_key[reading(name.lower()).key][row.name] = one
    for key, same in by_key.items():
        plainer[key.replace("+", "")] |= same
    return _Index(
        *({key: tuple(same.values()) for key, same in found.items()} for found in (by_whole, by_key, plainer))
    )


def _may_be(one: _Entry, read: Reading, memory_bytes: float | None, cores: int | None) -> bool:
    row = one.row
    if not _is_by(row, read):
        return False
    if cores is not None and row.cores is not None and row.kind == "soc" and row.cores != cores:
        return False
    if not all(any(mine.startswith(told) for mine in one.told) for told in read.told):
        return False
    named_bytes = read.memory_gb * _GIB if read.memory_gb else None
    return _fits(one, named_bytes, exact=True) and _fits(one, memory_bytes)


def _is_by(row: Hardware, *read: Reading) -> bool:
    """The maker that the name tells, if it tells one."""
    return all(not one.vendors or row.vendor in one.vendors for one in read)


def _fits(one: _Entry, memory_bytes: float | None, *, exact: bool = False) -> bool:
    """A card has what it has; of memory that is shared any size up to the largest that is sold."""
    most = one.row.memory_bytes
    if memory_bytes is None or most is None:
        return True
    if one.row.shares_memory and not one.sized:
        return memory_bytes <= most * _TOLD_MOST
    return memory_bytes == most if exact else _TOLD_LEAST <= memory_bytes / most <= _TOLD_MOST


def _as_told(row: Hardware, read: Reading) -> Hardware:
    """With what the name tells of one machine: its memory where it is shared, the modules that are fitted."""
    if read.memory_gb and row.shares_memory and row.memory_bytes:
        row = msgspec.structs.replace(row, told_bytes=read.memory_gb * _GIB)
    if read.fitted and row.kind == "cpu":
        channels, rate = read.fitted
        row = msgspec.structs.replace(
            row, memory_channels=channels, memory_transfers_s=rate * 1e6, read_bytes_s=channels * rate * 8e6
        )
    return row

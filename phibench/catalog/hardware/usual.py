"""Of cards that are sold under one name with several sizes of memory the usual one, with the reason: ``usual.toml``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from pathlib import Path

from phibench.catalog.hardware.names import reading
from phibench.core.nouns import Hardware


@functools.cache
def reasons() -> dict[str, str]:
    """Name of a row -> why it is the one that its name without a size means."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def usual(found: Sequence[Hardware]) -> tuple[Hardware, str] | None:
    """The one that is meant if nothing more is said, and why; None of rows that differ in more than their memory."""
    if not differ_in_memory_alone(found):
        return None
    return next(((row, reasons()[row.name]) for row in found if row.name in reasons()), None)


def differ_in_memory_alone(found: Sequence[Hardware]) -> bool:
    """Several cards of one name, each with a size of its own. What shares its memory has whatever the machine has."""
    names = [reading(row.name.lower()) for row in found]
    same = {
        (row.kind, row.vendor, row.architecture, name.key, name.told) for row, name in zip(found, names, strict=True)
    }
    sizes = {row.memory_bytes for row in found}
    return len(found) > 1 and len(same) == 1 and len(sizes) == len(found) and not any(r.shares_memory for r in found)

"""What of a described machine's memory is left to a model. What a probed one has free, the system says.

Chosen, all of it, by what such systems show as used at rest with a browser closed; it never grows faster than the
memory.
"""

from __future__ import annotations

from phibench.core.nouns import Hardware

GIB = 1 << 30
_LEAST_SHARE = 0.06  # of large memories: page tables, kernel, caches that do not go
_BY_SYSTEM = {"windows": 3.5 * GIB, "macos": 3.0 * GIB, "linux": 2.5 * GIB}
_WITHOUT_DESKTOP = 1.0 * GIB  # servers, boards, containers
_PHONE_SHARE = 0.5  # what an app may take before the system stops it
_SERVER_CHANNELS = 6  # of memory: processors of desktops and laptops have at most four
# Of a card, beside what the engine's own context takes (predict/memory.py): a display and what its system draws.
_CARD, _CARD_DATACENTER = 0.6 * GIB, 0.1 * GIB


def free_bytes(memory_bytes: int, system: str, host: Hardware, *, server: bool = False) -> int:
    """Of the machine's memory; ``server``: known to have no desktop (a container, a data-centre card)."""
    if system in ("android", "ios"):
        return int(memory_bytes * (1 - _PHONE_SHARE))
    alone = server or host.kind == "sbc" or (host.memory_channels or 0) >= _SERVER_CHANNELS
    kept = _WITHOUT_DESKTOP if alone and system == "linux" else _BY_SYSTEM[system]
    return max(int(memory_bytes - max(kept, _LEAST_SHARE * memory_bytes)), 0)


def card_bytes(row: Hardware) -> int | None:
    """Of a card's own memory; None where nobody knows how much it has."""
    if row.memory_bytes is None:
        return None
    kept = _CARD_DATACENTER if row.kind == "gpu-datacenter" else _CARD
    return int(row.memory_bytes - max(kept, _LEAST_SHARE * row.memory_bytes))

"""What caches hold: beyond it, what is read over and over counts as read from memory."""

from __future__ import annotations

from phibench.core.nouns import Machine

FACTOR = 4  # STREAM's rule: at least 4 times the last-level caches together
# The largest second-level cache of a card in the data sheets: GeForce RTX 5090, 96 MB.
DEVICE_BYTES = 96 << 20


def last_level_bytes(machine: Machine, device: str, unknown: int) -> int:
    """Of the processor, ``unknown`` where the system does not tell; of other devices the largest that are sold."""
    if device.partition(":")[0] != "cpu":
        return DEVICE_BYTES
    told = machine.processor.last_level_bytes if machine.processor else None
    return unknown if told is None else told

"""What a batch brings: where more sequences at once stop giving more tokens. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

GAIN = 0.10  # less than this is no reason for a larger batch
_SPEEDS = {"decode_tps": "decode", "prefill_tps": "prefill"}
_SAME = ("run", "setup", "weights", "layers", "n_prompt", "n_gen", "n_depth", "room")


def knees(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Of each row what to say of its speed: whether the next larger batch of the same test is worth it."""
    said: list[list[str]] = [[] for _ in rows]
    for metric, name in _SPEEDS.items():
        same: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            if row.get(metric) is not None:
                same[tuple(row[key] for key in _SAME)].append(place)
        for places in same.values():
            places.sort(key=lambda place: rows[place]["batch"])
            if (at := knee([(rows[p]["batch"], rows[p][metric]) for p in places])) is not None:
                here, there = rows[places[at]], rows[places[at + 1]]
                gain = there[metric] / here[metric] - 1
                said[places[at]].append(
                    f"the knee of {name}: a batch of {there['batch']} gives {gain:+.0%} in all, "
                    f"{there[metric] / there['batch']:.3g} tok/s for each sequence instead of "
                    f"{here[metric] / here['batch']:.3g}"
                )
    return said


def knee(curve: Sequence[tuple[int, float]]) -> int | None:
    """Place of the first batch that no larger one beats by :data:`GAIN`; None where the last still gains, or is alone.

    ``curve``: (batch, tokens per second in all) in the order of batches. One slow point does not make a knee: every
    larger batch must fail.
    """
    for place, (_, speed) in enumerate(curve[:-1]):
        if all(later < speed * (1 + GAIN) for _, later in curve[place + 1 :]):
            return place
    return None

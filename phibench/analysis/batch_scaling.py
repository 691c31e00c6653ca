"""What a batch brings: where more sequences at once stop giving more tokens. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from phibench.core.nouns import Note, Row

GAIN = 0.10  # less than this is no reason for a larger batch
_SPEEDS = {"decode_tps": "decode", "prefill_tps": "prefill"}


def notes(rows: Sequence[Row]) -> list[list[Note]]:
    """Of each row of a run what to say of its speed: whether the next larger batch of the same test is worth it."""
    said: list[list[Note]] = [[] for _ in rows]
    for metric, name in _SPEEDS.items():
        for curve in curves(rows, metric).values():
            speeds = [(rows[place].workload.batch, speed) for place, speed in curve]
            if (at := knee(speeds)) is not None:
                (batch, here), (larger, there) = speeds[at : at + 2]
                text = (
                    f"the knee of {name}: a batch of {larger} gives {there / here - 1:+.0%} in all, "
                    f"{there / larger:.3g} tok/s for each sequence instead of {here / batch:.3g}"
                )
                said[curve[at][0]].append(Note(kind="knee", text=text, metric=metric))
    return said


def curves(rows: Sequence[Row], metric: str) -> dict[Hashable, list[tuple[int, float]]]:
    """Rows that differ in their batch alone, in its order: (place of the row, what it says of the metric)."""
    same: dict[Hashable, list[tuple[int, float]]] = defaultdict(list)
    for place, row in sorted(enumerate(rows), key=lambda each: each[1].workload.batch):
        if (value := row.median(metric)) is not None:
            same[row.run.id, row.setup, row.weights, row.layers, row.workload.single].append((place, value))
    return same


def knee(curve: Sequence[tuple[int, float]]) -> int | None:
    """Place of the first batch that no larger one beats by :data:`GAIN`; None where the last still gains, or is alone.

    ``curve``: (batch, tokens per second in all) in the order of batches. One slow point does not make a knee: every
    larger batch must fail.
    """
    for place, (_, speed) in enumerate(curve[:-1]):
        if all(later < speed * (1 + GAIN) for _, later in curve[place + 1 :]):
            return place
    return None

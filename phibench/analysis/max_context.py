"""The longest context that fits into memory."""

from __future__ import annotations

from collections.abc import Callable

STEP = 256  # tokens: llama.cpp pads a context to this; finer would only look exact


def max_context(occupied: Callable[[int], int], most: int, free: int) -> int:
    """Tokens up to ``most`` for which ``occupied`` bytes fit into ``free``, in whole steps; 0 where not one step does.

    Memory grows with the context, nearly in a line: so the next guess is where that line meets ``free``.
    """

    def spare(tokens: int) -> int:
        return free - occupied(tokens)

    if (lack := -spare(most)) <= 0:
        return most
    low, high = 1, -(-most // STEP)  # in steps: low fits, high does not
    if (room := spare(STEP)) < 0:
        return 0
    while high - low > 1:
        middle = min(max(low + (high - low) * room // (room + lack), low + 1), high - 1)
        if (found := spare(middle * STEP)) >= 0:
            low, room = middle, found
        else:
            high, lack = middle, -found
    return low * STEP

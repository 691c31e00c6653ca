"""A planted fault: how ``verify`` proves that it would see one. A position is lost between prompt and first step."""

# ruff: noqa: SLF001  a fault is planted where an open model would have it: inside

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lose_a_position(session: Any) -> None:
    """After the prompt the tables of cosines and sines are read one row too far."""
    loop, score, feed = session._loop, session.score, session._loop.feed

    def late(prompt: Sequence[int], then: Sequence[int]) -> Any:
        def feeding(ids: Any) -> Any:
            found = feed(ids)
            if ids.shape[1] == len(prompt):
                loop._tables = {key: tuple(one.roll(-1, 0) for one in two) for key, two in loop._tables.items()}
            return found

        loop.feed = feeding
        try:
            return score(prompt, then)
        finally:
            loop.feed = feed
            loop.make_room(1)  # tables of a kind again

    session.score = late

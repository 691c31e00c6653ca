"""A planted fault: how ``verify`` proves that it would see one. A position is lost between prompt and first step."""

# ruff: noqa: SLF001  a fault is planted where an open model would have it: inside

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lose_a_position(session: Any) -> None:
    """The engine counts positions itself: a pad token slips in behind the prompt."""
    score, append = session.score, session._append

    def late(prompt: Sequence[int], then: Sequence[int]) -> Any:
        def appending(ids: Any) -> None:
            if session._generator.token_count() == len(prompt):
                append(session._np.zeros(1, session._np.int32))
            append(ids)

        session._append = appending
        try:
            return score(prompt, then)
        finally:
            session._append = append

    session.score = late

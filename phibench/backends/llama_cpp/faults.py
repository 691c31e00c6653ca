"""A planted fault: how ``verify`` proves that it would see one. A position is lost between prompt and first step."""

# ruff: noqa: SLF001  a fault is planted where an open model would have it: inside

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lose_a_position(session: Any) -> None:
    """The prompt's last token moves up by one position, and all that follows with it."""
    decode = session._decode_ids

    def late(prompt: Sequence[int]) -> None:
        decode(prompt)
        memory = session._api.llama_get_memory(session._context)
        session._api.llama_memory_seq_add(memory, 0, len(prompt) - 1, len(prompt), 1)

    session._decode_ids = late

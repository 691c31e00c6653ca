"""Whether something can be read, and what would change that."""

from __future__ import annotations

from typing import NamedTuple


class Access(NamedTuple):
    """``why`` it cannot be read, "" where it can; ``grant``: the line that would make it readable, where one would."""

    why: str = ""
    grant: str = ""

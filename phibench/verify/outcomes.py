"""What was found of one setup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from phibench.core.nouns import Kind, Noun, Setup
from phibench.verify import distances


class Outcome(Noun, frozen=True, kw_only=True):
    """What was found of one setup. ``weights_error``: the worst block's, relative; None without a source to compare.

    ``kind``: how the process of one that failed died; None where nothing died.
    """

    setup: Setup
    verdict: Literal["same", "differs", "failed", "not installed", "no files"]
    reason: str = ""
    kind: Kind | None = None
    distance: distances.Distance | None = None
    limit: distances.Limit | None = None
    weights_error: float | None = None
    against: str = "torch float32"


OnOutcome = Callable[[Outcome], None]

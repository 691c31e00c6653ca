"""A row of results: what the launches of one test say together, and what people are told of it."""

from __future__ import annotations

from typing import Literal

from phibench.nouns.base import Noun


class Spread(Noun, frozen=True, kw_only=True):
    """A median with its range (few samples) or its 95 % interval (several worker launches)."""

    median: float
    low: float
    high: float
    kind: Literal["range", "interval"]
    count: int

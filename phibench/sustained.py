"""Decode that goes on for minutes: burst against steady state, changes on the way. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from phibench.nouns import Measured, Suite


def values(result: Measured) -> list[float]:
    """The steady speed."""
    del result
    return []


def notes(suite: Suite, measured: Sequence[Measured]) -> tuple[str, ...]:
    """What people are told of one test."""
    del suite, measured
    return ()

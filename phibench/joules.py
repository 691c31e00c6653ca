"""Joules of a token: energy of windows, gross and net of what the machine takes at rest. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from phibench.nouns import Measured, Suite


def values(name: str, result: Measured) -> list[float]:
    """The metric of every work window that can tell it."""
    del name, result
    return []


def notes(suite: Suite, measured: Sequence[Measured]) -> tuple[str, ...]:
    """What people are told of one test: method and scope of its figures, and what speaks against them."""
    del suite, measured
    return ()

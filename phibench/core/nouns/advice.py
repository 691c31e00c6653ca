"""Numbers that know where they came from, and verdicts with their reasons."""

from __future__ import annotations

from typing import Literal

from phibench.core.nouns.base import Noun
from phibench.core.nouns.setups import Setup

Basis = Literal["measured", "calibrated", "probed", "spec", "published", "exact", "assumed"]


class Estimate(Noun, frozen=True, kw_only=True):
    """A number that knows where it came from. ``low`` and ``high`` bound 80 %; of bytes: counted, and in all."""

    value: float
    low: float
    high: float
    basis: Basis
    because: str
    benchmark: str = ""  # of a published score


class Reason(Noun, frozen=True):
    """A sentence with its numbers, and what to type to settle it."""

    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}" if self.remedy else self.text


class Verdict(Noun, frozen=True, kw_only=True):
    """Yes, no or not known, each with its reasons in words."""

    setup: Setup
    estimates: dict[str, Estimate] = {}
    objections: tuple[str, ...] = ()
    unknowns: tuple[Reason, ...] = ()
    hard: int = 0  # objections that no looser limit and no faster machine would turn

    @property
    def verdict(self) -> Literal["yes", "no", "unknown"]:
        if self.objections:
            return "no"
        return "unknown" if self.unknowns else "yes"


def exact(value: float, basis: Basis, because: str, benchmark: str = "") -> Estimate:
    return Estimate(value=value, low=value, high=value, basis=basis, because=because, benchmark=benchmark)

"""What calibrating found: rates of tensor types, how far a whole file was off, what is known better now."""

from __future__ import annotations

from typing import Literal

from phibench.core.nouns.base import Noun
from phibench.core.nouns.setups import Setup


class KernelRate(Noun, frozen=True, kw_only=True):
    """How fast weights of one type pass: bytes per second of a decode step, FLOP/s of a prompt; 80 % bounds."""

    backend: str
    device: str
    tensor_type: str
    phase: Literal["decode", "prefill"]
    value: float
    low: float
    high: float
    unit: Literal["B/s", "FLOP/s"]


class Narrowed(Noun, frozen=True, kw_only=True):
    """Tokens per second of a whole model, 80 % bounds before and after; ``before`` None: nothing was known."""

    setup: Setup
    metric: str
    before: tuple[float, float] | None
    after: tuple[float, float]


class Check(Noun, frozen=True, kw_only=True):
    """A whole file: what its slices said of it, and what it did; ``doubt``: why one of both is not believed."""

    setup: Setup
    metric: str
    predicted: float
    low: float
    high: float
    measured: float
    doubt: str = ""

    @property
    def error(self) -> float:
        """Of the prediction, as a part of what was measured."""
        return self.predicted / self.measured - 1


class LeftOut(Noun, frozen=True, kw_only=True):
    """A slice, a check or an engine that was not measured. ``late``: there was no time, so a longer one would;
    ``disk``: no room for its file."""

    what: str
    reason: str
    setup: Setup | None = None
    late: bool = False
    disk: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class Calibration(Noun, frozen=True, kw_only=True):
    """``warnings``: what speaks against the run, in words."""

    seconds: float
    budget_s: float
    rates: tuple[KernelRate, ...]
    checks: tuple[Check, ...]
    narrowed: tuple[Narrowed, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...] = ()

"""Amounts with their units, and estimates that never look like measurements."""

from __future__ import annotations

import math

from phibench.core import units
from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate


def shown(metric: str, estimate: Estimate, digits: int = 0) -> str:
    """A value as people read it; an estimate never looks like a measurement. ``digits``: so many at least.

    ``12.3`` measured, exact or published; ``~9.1 (7.9–10)`` estimated, with its interval; ``~90 s (60–120 s) assumed``
    where it hangs on something that nobody published.
    """
    if estimate.basis in ("exact", "published", "measured"):
        return amount(metric, estimate.value, max(3, digits))
    low, high = (_amount(metric, v, 2) for v in (estimate.low, estimate.high))
    first = low.number if low.unit == high.unit else low  # the same unit is told once
    mark = " assumed" if estimate.basis == "assumed" else ""
    return f"~{amount(metric, estimate.value, max(2, digits))} ({first}–{high}){mark}"


def amount(metric: str, value: float, digits: int) -> str:
    """``value`` with its unit, to ``digits`` significant digits; speeds and scores are plain numbers.

    Memory is binary (GiB), files are decimal (GB).
    """
    return str(_amount(metric, value, digits))


def _amount(metric: str, value: float, digits: int) -> units.Amount:
    row = METRICS[metric]
    if row.unit == "B":
        return units.binary_bytes(value) if row.binary else units.decimal_bytes(value)
    if value and math.isfinite(value):
        value = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    if row.unit == "s":
        return units.time(value)
    return units.Amount(f"{value:.0f}" if value >= 10 ** (digits - 1) else f"{value:g}")

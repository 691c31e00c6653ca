"""Limits of a goal: kept, missed, or not to be judged; and by how much."""

from __future__ import annotations

from phibench.core.amounts import amount, shown
from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate

KNOWN = ("exact", "published", "measured")  # judged by the value: its spread is noise of the machine, not ignorance


def judge(metric: str, estimate: Estimate, limit: float) -> bool | None:
    """Is the limit kept? Yes where the worse end of the interval keeps it, no where the value in the middle misses it,
    else None. A doubted estimate is never a no."""
    if miss(metric, estimate, limit) <= 1.0:
        return True
    if estimate.doubt or _ratio(metric, estimate.value, limit) <= 1.0:
        return None
    return False


def miss(metric: str, estimate: Estimate, limit: float) -> float:
    """How many times too slow, too large or too late at its worse end; at most 1 where the limit is kept."""
    return _ratio(metric, worse_end(metric, estimate), limit)


def in_words(metric: str, estimate: Estimate, limit: float) -> str:
    """How a limit that is not kept is missed, with the numbers."""
    row = METRICS[metric]
    unit = f" {row.unit}" if row.unit not in ("s", "B") else ""
    doubtful = " (doubtful)" if estimate.doubt else ""
    misses = "is" if judge(metric, estimate, limit) is False else "may be"
    side = "below" if row.better == "higher" else "over"
    told = next((d for d in range(2, 7) if amount(metric, estimate.value, d) != amount(metric, limit, d)), 2)
    return (
        f"{row.title} {shown(metric, estimate, told)}{unit}{doubtful} {misses} {side} {amount(metric, limit, 3)}{unit}"
    )


def worse_end(metric: str, estimate: Estimate) -> float:
    """What is sure of it: the value of what is known, else the end of the interval that nobody hopes for."""
    if estimate.basis in KNOWN and not estimate.doubt:
        return estimate.value
    return estimate.low if METRICS[metric].better == "higher" else estimate.high


def _ratio(metric: str, value: float, limit: float) -> float:
    if METRICS[metric].better == "lower":
        return value / limit if limit > 0 else (1.0 if value <= limit else float("inf"))
    return limit / max(value, 1e-12)

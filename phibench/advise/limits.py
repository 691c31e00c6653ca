"""Limits of a goal: kept, missed, or not to be judged."""

from __future__ import annotations

from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate, Goal


def judge(metric: str, estimate: Estimate, limit: float) -> bool | None:
    """Is the limit kept? None when it lies inside the interval of something that was not measured.

    A measured value is judged by its median: its spread is noise of the machine, not ignorance.
    """
    sign = 1 if METRICS[metric].better == "higher" else -1
    if estimate.basis in ("exact", "published", "measured"):
        return estimate.value * sign >= limit * sign
    worst, best = sorted((estimate.low * sign, estimate.high * sign))
    if best < limit * sign:
        return False
    return True if worst >= limit * sign else None


def misses(goal: Goal, estimates: dict[str, Estimate]) -> dict[str, float]:
    """How many times too slow, too large or too late, for every limit of the goal that is not kept."""
    found = {}
    for metric, limit in goal.limits.items():
        estimate = estimates.get(metric)
        if estimate and judge(metric, estimate, limit) is False:
            ratio = estimate.value / limit if METRICS[metric].better == "lower" else limit / max(estimate.value, 1e-12)
            found[metric] = ratio
    return found

"""Limits of a goal: kept, missed, or not to be judged."""

from __future__ import annotations

from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate, Goal


def judge(metric: str, estimate: Estimate, limit: float) -> bool | None:
    """Is the limit kept? None when it lies inside the interval of something that was not measured, or is doubted.

    A measured value is judged by its median: its spread is noise of the machine, not ignorance. A doubted one says yes
    where even its worse end keeps the limit, and never no.
    """
    kept = _judge(metric, estimate, limit)
    return None if kept is False and estimate.doubt else kept


def _judge(metric: str, estimate: Estimate, limit: float) -> bool | None:
    sign = 1 if METRICS[metric].better == "higher" else -1
    if estimate.basis in ("exact", "published", "measured"):
        return estimate.value * sign >= limit * sign
    worst, best = sorted((estimate.low * sign, estimate.high * sign))
    if best < limit * sign:
        return False
    return True if worst >= limit * sign else None


def misses(goal: Goal, estimates: dict[str, Estimate]) -> dict[str, float]:
    """How many times too slow, too large or too late, for every limit of the goal that is not kept.

    A doubted estimate that does not keep its limit for sure counts by its worse end: more is not known of it.
    """
    found = {}
    for metric, limit in goal.limits.items():
        estimate = estimates.get(metric)
        if estimate is None:
            continue
        kept = judge(metric, estimate, limit)
        if kept is False or (kept is None and estimate.doubt):
            value = proven(metric, estimate)
            found[metric] = value / limit if METRICS[metric].better == "lower" else limit / max(value, 1e-12)
    return found


def proven(metric: str, estimate: Estimate) -> float:
    """The value, or of a doubted estimate its worse end: an order may not hang on what nobody believes."""
    if not estimate.doubt:
        return estimate.value
    return estimate.low if METRICS[metric].better == "higher" else estimate.high

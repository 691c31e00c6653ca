"""The order of candidates, and which of them are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from phibench.advise.limits import misses, proven
from phibench.core.metrics import METRICS
from phibench.core.nouns import Estimate, Goal, Verdict
from phibench.predict import basis

_VERDICTS = ("yes", "unknown", "no")


def order_key(goal: Goal, verdict: Verdict) -> tuple[Any, ...]:
    """Smaller is better. A metric that is not known ranks after every value.

    Among the "no", hard objections count before missed limits: where nothing fits, the first row comes nearest. What is
    not known only because a figure is doubted stands among them with what is proven of it, so that no guess leads what
    was measured because of a doubt.
    """
    speed, size = verdict.estimates.get("decode_tps"), verdict.estimates.get("weights_bytes")
    return (
        _VERDICTS.index("no" if verdict.doubted else verdict.verdict),
        verdict.hard,
        _distance(goal, verdict),
        *(_rank(goal, metric, verdict.estimates.get(metric)) for metric in goal.order),
        basis.BASES.index(speed.basis) if speed else len(basis.BASES),
        size.value if size else float("inf"),
        str(verdict.setup),
    )


def _distance(goal: Goal, verdict: Verdict) -> float:
    """By how much a no, or what is doubted, misses the worst limit, on a 10 % grid."""
    if verdict.verdict != "no" and not verdict.doubted:
        return 0.0
    return round(math.log(max(misses(goal, verdict.estimates).values(), default=1.0), 1.1))


def _rank(goal: Goal, metric: str, estimate: Estimate | None) -> tuple[float, ...]:
    """Scores of different benchmarks do not compare: the goal's order of benchmarks comes first."""
    if estimate is None:
        return (1.0,)
    rank = METRICS[metric].rank(proven(metric, estimate))
    if metric == "quality":
        return 0.0, float(goal.benchmarks.index(estimate.benchmark)), rank
    return 0.0, rank


def shown(verdicts: Sequence[Verdict], top: int | None = None) -> tuple[Verdict, ...]:
    """The best setup of each of the first ``top`` variants; every candidate when ``top`` is None (``--top all``)."""
    if top is None:
        return tuple(verdicts)
    best: dict[str, Verdict] = {}
    for verdict in verdicts:
        best.setdefault(verdict.setup.variant, verdict)
    return tuple(best.values())[:top]

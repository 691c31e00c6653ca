"""Statistics of samples; pure functions. Values are stored, statistics are computed when asked."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence

from phibench.core.nouns import Spread

MIN_LAUNCHES = 3  # repetitions inside one process are not independent: no interval from fewer launches
MIN_SAMPLES = 6  # a 95 % bootstrap interval of a median needs more than 5
MIN_PAIRS = 8  # of interleaved launches that a winner needs: two-sided sign flips then reach p = 2 / 2^8 = 0.008
ALPHA = 0.02  # of naming a winner where there is none
_EXACT_PAIRS, _RANDOM_SIGNS = 16, 20_000


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def percentile(values: Sequence[float], quantile: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan type 7, numpy's default)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = quantile * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def sample_stdev(values: Sequence[float]) -> float | None:
    """Two-pass sample deviation (n - 1); None for fewer than two values.

    A one-pass formula overflows: llama-bench printed 3,722,529,745 ns where the truth is 148,894,758
    (ggml-org/llama.cpp issue 24951).
    """
    if len(values) < 2:
        return None
    center = mean(values)
    return math.sqrt(math.fsum((v - center) ** 2 for v in values) / (len(values) - 1))


def bootstrap(
    groups: Sequence[Sequence[float]],
    statistic: Callable[[Sequence[float]], float] = median,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval; ``groups`` (launches) are resampled first, then values within them."""
    pooled = [value for group in groups for value in group]
    draws = _draws(tuple(len(group) for group in groups), resamples, seed)
    found = [statistic([pooled[i] for i in drawn]) for drawn in draws]
    tail = (1 - confidence) / 2
    return percentile(found, tail), percentile(found, 1 - tail)


@functools.lru_cache(maxsize=32)
def _draws(sizes: tuple[int, ...], resamples: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Places in the pooled values, per resample. They depend on sizes alone: one table for all metrics of a row."""
    rng = random.Random(seed)  # noqa: S311  resampling, not secrecy
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    table = []
    for _ in range(resamples):
        drawn: list[int] = []
        for _ in sizes:
            group = rng.randrange(len(sizes))
            drawn += rng.choices(range(starts[group], starts[group] + sizes[group]), k=sizes[group])
        table.append(tuple(drawn))
    return tuple(table)


def spread(groups: Sequence[Sequence[float]]) -> Spread | None:
    """Median of all values; a range unless at least three launches allow an interval. None without values."""
    groups = [g for g in groups if g]
    pooled = [v for g in groups for v in g]
    if not pooled:
        return None
    if len(groups) >= MIN_LAUNCHES and len(pooled) >= MIN_SAMPLES:
        low, high = bootstrap(groups)
        return Spread(median=median(pooled), low=low, high=high, kind="interval", count=len(pooled))
    return Spread(median=median(pooled), low=min(pooled), high=max(pooled), kind="range", count=len(pooled))


def paired_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the exact sign-flip test on the log ratios of pairs: is one as likely above as below?

    Under no difference each ratio may as well be its inverse (Fisher 1935, The Design of Experiments, section 21),
    so all 2^n signs are tried; beyond 16 pairs 20,000 random ones (Phipson and Smyth 2010: the seen one counts).
    Raises ValueError for lists of different or no length, or values that are not positive.
    """
    logs = _log_ratios(first, second)
    total = math.fsum(logs)
    seen = abs(total) * (1 - 1e-12)  # a sum in another order may differ in its last bit
    flipped = _flipped(logs)
    extreme = sum(abs(total - 2 * part) >= seen for part, _ in flipped)
    exact = len(logs) <= _EXACT_PAIRS
    return extreme / len(flipped) if exact else (1 + extreme) / (1 + len(flipped))


def paired_interval(first: Sequence[float], second: Sequence[float], alpha: float = ALPHA) -> tuple[float, float]:
    """The ratios of the first to the second that :func:`paired_p` does not refuse at ``alpha``.

    The second times a ratio outside of it differs from the first with p < alpha; the geometric mean of the ratios
    always lies inside. It is (0, inf) where so few pairs cannot refuse any. Raises ValueError as paired_p does.

    A ratio above the mean counts as refused by a choice of signs unless the pairs that are flipped, or those that are
    not, have a mean as high: so each end is one of these means (Hartigan 1969, Using subsample values as
    typical values).
    """
    logs = _log_ratios(first, second)
    total, every = math.fsum(logs), len(logs)
    flipped = _flipped(logs)
    means = [
        (part / count, (total - part) / (every - count)) for part, count in flipped if 0 < count < every
    ]  # of both halves; where all or none are flipped nothing is ever refused
    always = len(flipped) - len(means) + (every > _EXACT_PAIRS)
    needed = math.ceil(alpha * (always + len(means)) * (1 - 1e-12)) - always
    if needed < 1:
        return 0.0, math.inf
    low = sorted(min(pair) for pair in means)[needed - 1]
    high = sorted((max(pair) for pair in means), reverse=True)[needed - 1]
    return math.exp(low), math.exp(high)


def _log_ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    if len(first) != len(second) or not first or min(*first, *second) <= 0:
        raise ValueError("pairs of positive numbers are needed")
    return [math.log(a / b) for a, b in zip(first, second, strict=True)]


def _flipped(logs: Sequence[float]) -> list[tuple[float, int]]:
    """Sum and number of the values whose sign is turned, for all choices, or for random ones where that is many."""
    if len(logs) <= _EXACT_PAIRS:
        sums = [(0.0, 0)]
        for value in logs:
            sums += [(part + value, count + 1) for part, count in sums]
        return sums
    rng = random.Random(0)  # noqa: S311  resampling, not secrecy
    choices = ([value for value in logs if not rng.getrandbits(1)] for _ in range(_RANDOM_SIGNS))
    return [(math.fsum(chosen), len(chosen)) for chosen in choices]

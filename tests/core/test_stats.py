"""Statistics: against numpy, against known vectors, and against what a range or an interval promises."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phibench.core import stats
from phibench.core.nouns import Spread

VALUES = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40)


@given(VALUES, st.floats(0, 1))
def test_a_percentile_is_numpys(values: list[float], quantile: float) -> None:
    expected = float(np.quantile(np.array(values), quantile))
    assert stats.percentile(values, quantile) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(VALUES)
def test_a_median_is_the_standard_librarys(values: list[float]) -> None:
    assert stats.median(values) == pytest.approx(statistics.median(values), rel=1e-12, abs=1e-6)


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.percentile([], 0.5)


def test_the_deviation_is_two_pass_where_llama_bench_overflows() -> None:
    """ggml-org/llama.cpp issue 24951: llama-bench prints 3,722,529,745 for these nanoseconds."""
    ns = [12140144300, 12308847400, 12225136900, 12154929400, 11909783400]
    assert round(stats.sample_stdev(ns) or 0) == 148_894_758


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(-1e9, 1e9))
def test_the_deviation_does_not_see_a_common_offset(values: list[float], offset: float) -> None:
    shifted = [v + offset for v in values]
    expected = statistics.stdev(shifted)
    assert stats.sample_stdev(shifted) == pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_one_value_has_no_deviation() -> None:
    assert stats.sample_stdev([1.0]) is None
    assert stats.sample_stdev([]) is None


def test_repetitions_of_one_process_give_a_range_however_many() -> None:
    spread = stats.spread([[float(i) for i in range(100)]])
    assert spread == Spread(median=49.5, low=0.0, high=99.0, kind="range", count=100)


@pytest.mark.parametrize(
    ("launches", "repetitions", "kind"), [(1, 30, "range"), (2, 30, "range"), (3, 1, "range"), (3, 2, "interval")]
)
def test_an_interval_needs_three_launches_and_six_values(launches: int, repetitions: int, kind: str) -> None:
    spread = stats.spread([[1.0 + i for i in range(repetitions)] for _ in range(launches)])
    assert spread is not None
    assert spread.kind == kind
    assert spread.count == launches * repetitions


def test_a_launch_without_values_does_not_count() -> None:
    spread = stats.spread([[1.0, 2.0, 3.0], [], [2.0, 3.0, 4.0]])
    assert spread is not None
    assert spread.kind == "range"
    assert stats.spread([[], []]) is None
    assert stats.spread([]) is None


@given(st.lists(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=6), min_size=3, max_size=5))
@settings(max_examples=25, deadline=None)
def test_an_interval_lies_inside_the_values_and_is_the_same_again(groups: list[list[float]]) -> None:
    low, high = stats.bootstrap(groups, resamples=200)
    pooled = [v for g in groups for v in g]
    assert min(pooled) <= low <= high <= max(pooled)
    assert stats.bootstrap(groups, resamples=200) == (low, high)


def test_the_interval_covers_the_true_median() -> None:
    """Six launches of five independent values: the 95 % interval holds the truth in most of 80 trials."""
    rng = random.Random(1)
    covered = 0
    for _ in range(80):
        groups = [[rng.gauss(10, 1) for _ in range(5)] for _ in range(6)]
        low, high = stats.bootstrap(groups, resamples=300)
        covered += low <= 10 <= high
    assert covered >= 70


def test_the_interval_knows_that_launches_differ() -> None:
    """Values that agree within a launch and not between launches: resampling values alone would be far too sure."""
    groups = [[10.0] * 20, [11.0] * 20, [12.0] * 20]
    assert stats.bootstrap(groups, resamples=300) == (10.0, 12.0)


PAIRS = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=10)


def _apart(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


@given(PAIRS, st.floats(0.001, 0.5))
def test_the_interval_is_what_the_test_does_not_refuse(pairs: list[tuple[float, float]], alpha: float) -> None:
    first, second = _apart(pairs)
    low, high = stats.paired_interval(first, second, alpha)
    mean = math.exp(statistics.fmean(math.log(a / b) for a, b in pairs))
    assert low * (1 - 1e-9) <= mean <= high * (1 + 1e-9)
    if high == math.inf:
        assert low == 0.0
        assert 2 / 2 ** len(pairs) >= alpha * (1 - 1e-9)  # nothing that so few could refuse
        return
    point = math.isclose(low, high)
    for end, outwards in ((low, 1 - 1e-6), (high, 1 + 1e-6)):
        assert stats.paired_p(first, [b * end / outwards for b in second]) >= alpha * (1 - 1e-9) or point
        assert stats.paired_p(first, [b * end * outwards for b in second]) < alpha


@given(PAIRS, st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_interval_knows_no_units_and_turns_with_its_sides(
    pairs: list[tuple[float, float]], one: float, other: float
) -> None:
    first, second = _apart(pairs)
    low, high = stats.paired_interval(first, second, 0.1)
    scaled = stats.paired_interval([a * one for a in first], [b * other for b in second], 0.1)
    assert scaled == pytest.approx((low * one / other, high * one / other))
    turned = stats.paired_interval(second, first, 0.1)
    assert turned == pytest.approx((1 / high, 1 / low if low else math.inf))


@given(st.lists(st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)), min_size=17, max_size=20))
@settings(max_examples=5, deadline=None)
def test_the_interval_of_many_pairs_matches_the_random_signs(pairs: list[tuple[float, float]]) -> None:
    first, second = _apart(pairs)
    low, high = stats.paired_interval(first, second)
    for end, outwards in ((low, 1 - 1e-6), (high, 1 + 1e-6)):
        assert stats.paired_p(first, [b * end / outwards for b in second]) >= stats.ALPHA or math.isclose(low, high)
        assert stats.paired_p(first, [b * end * outwards for b in second]) < stats.ALPHA


def test_the_interval_of_eight_pairs_by_hand() -> None:
    """Of 128 ways to halve them, 2.56 may reach an end: one whole and two more. So it is the second highest mean."""
    logs = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.6]
    low, high = stats.paired_interval([math.exp(x) for x in logs], [1.0] * 8)
    assert math.log(high) == pytest.approx(0.45)  # {0.6}, then {0.6, 0.3}
    assert math.log(low) == pytest.approx(0.0)


def test_the_interval_covers_the_truth_as_often_as_promised() -> None:
    rng = random.Random(4)
    missed = 0
    for _ in range(400):
        first = [1.1 * math.exp(rng.gauss(0, 0.05)) for _ in range(8)]
        low, high = stats.paired_interval(first, [math.exp(rng.gauss(0, 0.05)) for _ in range(8)])
        missed += not low <= 1.1 <= high
    assert missed <= 16  # 2 % are 8; more than 16 is improbable


@pytest.mark.parametrize("lists", [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_there_is_no_interval_of_what_is_no_pair(lists: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="pairs"):
        stats.paired_interval(*lists)

"""Formulas on scripted arrivals: what each metric means, and what it cannot say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fakes import workload
from hypothesis import given
from hypothesis import strategies as st

from phibench.core import metrics
from phibench.core.metrics import METRICS, values
from phibench.core.nouns import Sample, Workload


def one(name: str, work: Workload, *arrivals_s: float) -> float | None:
    found = values(name, work, (Sample(arrivals_s=arrivals_s),))
    return found[0] if found else None


def test_a_prompt_alone() -> None:
    work = workload(512, 0)
    assert one("prefill_tps", work, 2.0) == 256
    assert one("total_tps", work, 2.0) == 256
    assert one("ttft_s", work, 2.0) == 2.0
    for name in ("decode_tps", "tpot_s", "itl_p50_s", "answer_s"):
        assert one(name, work, 2.0) is None


def test_generation_alone_counts_every_token_as_llama_bench_does() -> None:
    work = workload(0, 4)
    arrivals = (0.1, 0.2, 0.3, 0.5)
    assert one("decode_tps", work, *arrivals) == 8
    assert one("tpot_s", work, *arrivals) == pytest.approx(0.4 / 3)
    assert one("itl_p50_s", work, *arrivals) == pytest.approx(0.1)
    for name in ("prefill_tps", "ttft_s", "answer_s"):
        assert one(name, work, *arrivals) is None


def test_a_pair_gives_its_first_token_to_prefill() -> None:
    work = workload(100, 5)
    arrivals = (2.0, 2.1, 2.2, 2.3, 2.6)
    assert one("prefill_tps", work, *arrivals) == 50
    assert one("ttft_s", work, *arrivals) == 2.0
    assert one("decode_tps", work, *arrivals) == pytest.approx(4 / 0.6)
    assert one("tpot_s", work, *arrivals) == pytest.approx(0.6 / 4)
    assert one("answer_s", work, *arrivals) == 2.6
    assert one("total_tps", work, *arrivals) == pytest.approx(105 / 2.6)


def test_one_new_token_after_a_prompt_has_no_decode_rate() -> None:
    for name in ("decode_tps", "tpot_s", "itl_p99_s"):
        assert one(name, workload(100, 1), 2.0) is None


def test_a_batch_makes_more_tokens_in_the_same_time_and_waits_no_less() -> None:
    arrivals = (1.0, 1.5, 2.0)
    alone, four = workload(10, 3), workload(10, 3, batch=4)
    for name in ("prefill_tps", "decode_tps", "total_tps"):
        assert one(name, four, *arrivals) == pytest.approx(4 * (one(name, alone, *arrivals) or 0))
    for name in ("ttft_s", "tpot_s", "answer_s"):
        assert one(name, four, *arrivals) == one(name, alone, *arrivals)


@given(st.lists(st.floats(1e-4, 10), min_size=2, max_size=60))
def test_percentiles_of_the_gaps_are_numpys(gaps: list[float]) -> None:
    arrivals = tuple(itertools.accumulate([0.5, *gaps]))
    work = workload(8, len(arrivals))
    for name, quantile in (("itl_p50_s", 0.5), ("itl_p90_s", 0.9), ("itl_p99_s", 0.99)):
        expected = float(np.quantile(np.diff(arrivals), quantile))
        assert one(name, work, *arrivals) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(0, 1e9), max_size=6), st.integers(0, 6), st.integers(0, 600))
def test_no_formula_fails_on_arrivals_that_cannot_be(arrivals: list[float], new: int, prompt: int) -> None:
    for name in METRICS:
        found = one(name, workload(prompt, new), *arrivals)
        assert found is None or found >= 0


@pytest.mark.parametrize("arrivals", [(), (0.0, 0.0), (1.0,), (1.0, 2.0, 3.0), (2.0, 1.0)])
def test_an_incomplete_sample_says_nothing(arrivals: tuple[float, ...]) -> None:
    assert not metrics.complete(workload(8, 2), Sample(arrivals_s=arrivals))
    assert one("ttft_s", workload(8, 2), *arrivals) is None


def test_each_sample_gives_one_value() -> None:
    samples = (Sample(arrivals_s=(1.0,)), Sample(arrivals_s=()), Sample(arrivals_s=(2.0,)))
    assert values("prefill_tps", workload(10, 0), samples) == [10, 5]
    assert values("quality", workload(10, 0), samples) == []


def test_timed_metrics_are_those_that_the_clock_gives() -> None:
    assert set(metrics.TIMED) == {name for name, m in METRICS.items() if m.meter is None}
    assert all((m.formula is None) == (m.meter is not None) for m in METRICS.values())
    assert all(name == m.name for name, m in METRICS.items())


@given(st.sampled_from(sorted(METRICS)), st.floats(1e-6, 1e12), st.floats(1e-6, 1e12))
def test_a_better_value_never_ranks_worse(name: str, a: float, b: float) -> None:
    metric = METRICS[name]
    better, worse = (max(a, b), min(a, b)) if metric.better == "higher" else (min(a, b), max(a, b))
    assert metric.rank(better) <= metric.rank(worse)


def test_close_values_tie_and_distant_ones_do_not() -> None:
    assert METRICS["quality"].rank(70.2) == METRICS["quality"].rank(70.4)
    assert METRICS["quality"].rank(71.0) < METRICS["quality"].rank(69.0)
    assert METRICS["decode_tps"].rank(10.0) == METRICS["decode_tps"].rank(10.1)
    assert METRICS["decode_tps"].rank(12.0) < METRICS["decode_tps"].rank(10.0)
    assert METRICS["ttft_s"].rank(1.0) < METRICS["ttft_s"].rank(2.0)

"""Speed over minutes: scripted arrivals; burst, steady state and changes are known."""

from __future__ import annotations

import itertools
import random

import fakes
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phibench.analysis import sustained
from phibench.core.nouns import Measured, Sample, Suite, Window
from phibench.show import results

SUITE = Suite(name="sustained", question="?", metrics=("decode_tps", "sustained_tps"))
NEW = 16


def result(tps: list[float], rest_s: float = 0.5, windows: int = 1, batch: int = 1) -> Measured:
    """One test of 16 tokens per speed, ``rest_s`` of preparation before each."""
    samples, at = [], 0.0
    for speed in tps:
        at += rest_s
        arrivals = tuple((i + 1) / speed for i in range(NEW))
        samples.append(Sample(arrivals_s=arrivals, start_s=at, gauges={"cpu_temp_c": 50.0 + at / 10}))
        at += arrivals[-1]
    each = len(tps) // windows
    spans = tuple(Window(kind="work", seconds=at / windows, tests=each) for _ in range(windows))
    plain = fakes.measured(fakes.workload(0, NEW, batch=batch))
    idle = Window(kind="idle", seconds=5.0)
    return msgspec.structs.replace(plain, samples=tuple(samples), windows=(idle, *spans, idle))


def test_steady_is_the_last_half_and_burst_the_beginning() -> None:
    measured = result([20.0] * 40 + [10.0] * 40)
    assert sustained.values(measured) == [pytest.approx(10.0)]
    burst, change, sensors = sustained.notes(SUITE, [measured])
    assert burst.startswith("20 tok/s in the first 30 s, 10 tok/s in the last half (-50%)")
    assert change.startswith("slower from ")
    assert change.endswith(": 20 -> 10 tok/s")
    assert "°C" in sensors


def test_the_change_is_found_where_it_is() -> None:
    measured = result([20.0] * 40 + [10.0] * 40)
    when = measured.samples[40].start_s
    assert when is not None
    [change] = sustained.changes(sustained.curves(measured)[0])
    assert change.at_s == pytest.approx(when, abs=2.0)


def test_two_changes_are_two() -> None:
    found = sustained.changes(sustained.curves(result([20.0] * 30 + [14.0] * 30 + [9.0] * 30))[0])
    assert [(round(c.before), round(c.after)) for c in found] == [(20, 14), (14, 9)]


def test_time_between_tests_is_no_decode() -> None:
    assert sustained.values(result([20.0] * 20, rest_s=3.0)) == [pytest.approx(20.0)]


def test_a_batch_counts_all_its_sequences() -> None:
    assert sustained.values(result([20.0] * 20, batch=4)) == [pytest.approx(80.0)]


def test_every_window_has_its_own_steady_speed() -> None:
    assert sustained.values(result([20.0] * 20 + [10.0] * 20, windows=2)) == [pytest.approx(20), pytest.approx(10)]


def test_noise_is_rarely_called_a_change() -> None:
    rng = random.Random(1)
    runs = [[rng.gauss(10.0, 1.0) for _ in range(60)] for _ in range(100)]
    assert sum(sustained.pettitt(run)[1] < sustained.ALPHA for run in runs) <= 4


def test_small_changes_are_not_told() -> None:
    assert sustained.changes(sustained.curves(result([20.0] * 60 + [19.4] * 60))[0]) == []


@given(st.lists(st.floats(0.1, 1e3), max_size=40))
def test_pettitt_finds_a_place_inside_and_a_probability(values: list[float]) -> None:
    place, p = sustained.pettitt(values)
    assert 0 <= place < max(len(values), 1)
    assert 0 <= p <= 1


@given(st.lists(st.floats(1.0, 100.0), min_size=2, max_size=30), st.floats(0.5, 20.0))
def test_pettitt_looks_at_order_alone(values: list[float], scale: float) -> None:
    scaled = [value * scale for value in values]
    if all((a < b) == (c < d) for (a, c), (b, d) in itertools.combinations(list(zip(values, scaled, strict=True)), 2)):
        assert sustained.pettitt(values) == sustained.pettitt(scaled)


def test_other_suites_and_single_tests_say_nothing() -> None:
    plain = fakes.measured(fakes.workload(0, NEW))
    assert sustained.values(plain) == []
    assert sustained.notes(SUITE, [plain]) == ()
    assert sustained.notes(Suite(name="latency", question="?", metrics=("decode_tps",)), [result([10.0] * 9)]) == ()


def test_rows_show_the_steady_speed_beside_all_tests() -> None:
    [row] = results.rows([fakes.run(result([20.0] * 60 + [10.0] * 40), metrics=SUITE.metrics)])
    assert row.median("sustained_tps") == pytest.approx(10.0)
    assert row.median("decode_tps") == pytest.approx(20.0)
    assert any(note.text.startswith("slower from") for note in row.notes if note.kind == "sustained")

"""Who is named a winner, and that noise names nobody."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from fakes import SETUP, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench import render, stats, winners
from phibench.nouns import Measured, Setup

LLAMA = SETUP
TORCH = msgspec.structs.replace(SETUP, backend="torch", quantization="bf16")
ORT = msgspec.structs.replace(SETUP, backend="onnxruntime", quantization="int4")
DECODE = workload(0, 4)
Step = Callable[[int], float]


def launched(launches: int, **steps: Step) -> tuple[Measured, ...]:
    """Results of setups that take turns; ``steps``: backend -> seconds of a step in the n-th launch."""
    setups: dict[str, Setup] = {"llama": LLAMA, "torch": TORCH, "ort": ORT}
    return tuple(
        measured(DECODE, [step(n)], setup=setups[name], launch=n)
        for n in range(launches)
        for name, step in steps.items()
    )


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=10))
def test_the_test_is_exact_and_does_not_care_who_is_first(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    p = stats.paired_p(first, second)
    assert 2 / 2 ** len(pairs) <= p <= 1
    assert p == pytest.approx(stats.paired_p(second, first))
    assert p == pytest.approx(stats.paired_p([a * 7 for a in first], [b * 7 for b in second]), abs=0.01)


def test_eight_pairs_that_all_agree_are_enough_and_seven_are_not() -> None:
    assert stats.paired_p([1.1] * 8, [1.0] * 8) == 2 / 256 < stats.ALPHA
    assert stats.paired_p([1.1] * stats.MIN_PAIRS, [1.0] * stats.MIN_PAIRS) < stats.ALPHA
    assert stats.paired_p([1.1] * 6, [1.0] * 6) > stats.ALPHA


def test_many_pairs_are_tried_at_random_with_the_same_answer() -> None:
    rng = random.Random(3)
    one, other = [rng.gauss(10, 1) for _ in range(16)], [rng.gauss(10.5, 1) for _ in range(16)]
    exact = stats.paired_p(one, other)
    one, other = [*one, 10.0], [*other, 10.0]  # a pair that says nothing
    assert stats.paired_p(one, other) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("lists", [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_what_is_no_pair_is_refused(lists: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="pairs"):
        stats.paired_p(*lists)


def test_noise_names_a_winner_as_rarely_as_promised() -> None:
    """400 comparisons of a thing with itself, with a drift that both share: 2 % alarms are 8, and 16 are improbable."""
    rng = random.Random(5)
    alarms = 0
    for _ in range(400):
        drift = [1 + 0.1 * rng.random() for _ in range(8)]
        one, other = ([d * rng.gauss(1, 0.05) for d in drift] for _ in range(2))
        alarms += stats.paired_p(one, other) < stats.ALPHA
    assert alarms <= 16


def test_a_winner_beats_everyone_in_the_shared_drift() -> None:
    """10 % faster while the machine itself swings by 50 %: pairs see it."""
    swing = [1.0, 1.5, 0.9, 1.2, 1.4, 0.8, 1.1, 1.3]
    done = run(
        *launched(8, llama=lambda n: 0.10 * swing[n], torch=lambda n: 0.11 * swing[n], ort=lambda n: 0.2 * swing[n])
    )
    assert winners.wins(done)[LLAMA, DECODE] == ("decode_tps", "tpot_s", "itl_p50_s", "itl_p90_s", "itl_p99_s")
    assert set(winners.wins(done)) == {(LLAMA, DECODE)}
    text = render.table(render.rows((done,)), 120)
    assert "tg4, Decode: llama_cpp wins with 1.10 x torch (8 pairs)" in text


def test_a_tie_at_the_top_has_no_winner() -> None:
    wobble = [1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97, 1.0]
    done = run(*launched(8, llama=lambda n: 0.1 * wobble[n], torch=lambda n: 0.1 * wobble[-1 - n], ort=lambda n: 0.3))
    assert winners.wins(done) == {}
    assert "tg4, Decode: no winner, " in render.table(render.rows((done,)), 120)


def test_few_launches_name_nobody_and_say_how_many_would() -> None:
    done = run(*launched(3, llama=lambda n: 0.1, torch=lambda n: 0.9))
    assert winners.wins(done) == {}
    text = render.table(render.rows((done,)), 120)
    assert "no winner is named after 3 launches: that takes 8 (--launches 8)" in text
    assert "wins" not in text


def test_a_lone_setup_is_no_contest() -> None:
    done = run(*launched(8, llama=lambda n: 0.1))
    assert winners.wins(done) == {}
    assert "winner" not in render.table(render.rows((done,)), 120)


def test_memory_is_won_by_the_smallest() -> None:
    def with_peak(result: Measured) -> Measured:
        gib = {"llama_cpp": 2.0, "torch": 8.0}[result.setup.backend]
        return msgspec.structs.replace(result, readings={"host_peak_bytes": (gib + result.launch / 100) * 2**30})

    results = map(with_peak, launched(8, llama=lambda n: 0.1, torch=lambda n: 0.1))
    done = run(*results, metrics=("decode_tps", "host_peak_bytes"))
    rows = render.rows((done,))
    assert [row["wins"] for row in rows] == [["host_peak_bytes"], []]
    text = render.table(rows, 120)
    assert "Peak memory: llama_cpp wins with 0.25 x torch (8 pairs)" in text
    assert "Peak memory GiB" in text
    assert "2.0" in text


def test_a_launch_that_failed_makes_no_pair() -> None:
    results = [r for r in launched(8, llama=lambda n: 0.1, torch=lambda n: 0.2) if (r.setup, r.launch) != (TORCH, 3)]
    assert winners.wins(run(*results)) == {}

"""Who is named a winner, and that noise names nobody."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from fakes import LATENCY, SETUP, measured, run, workload
from hypothesis import given
from hypothesis import strategies as st

from phibench.core import stats
from phibench.core.nouns import Measured, Need, Result, Run, Setup, Suite
from phibench.show import results as show_results

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


def wins(done: Run) -> dict[str, list[str]]:
    """Backend -> the metrics that it wins."""
    return {row.setup.backend: list(row.wins) for row in show_results.rows((done,)) if row.wins}


def text(done: Run) -> str:
    return show_results.table(show_results.rows((done,)), 120)


def test_a_winner_beats_everyone_in_the_shared_drift() -> None:
    """10 % faster while the machine itself swings by 50 %: pairs see it."""
    swing = [1.0, 1.5, 0.9, 1.2, 1.4, 0.8, 1.1, 1.3]
    done = run(
        *launched(8, llama=lambda n: 0.10 * swing[n], torch=lambda n: 0.11 * swing[n], ort=lambda n: 0.2 * swing[n])
    )
    assert wins(done) == {"llama_cpp": ["decode_tps", "tpot_s", "itl_p50_s", "itl_p90_s", "itl_p99_s"]}
    assert "tg4, Decode: llama_cpp wins with 1.10 x torch (8 pairs)" in text(done)


def test_a_tie_at_the_top_has_no_winner_and_says_who_is_close() -> None:
    wobble = [1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97, 1.0]
    done = run(*launched(8, llama=lambda n: 0.1 * wobble[n], torch=lambda n: 0.1 * wobble[-1 - n], ort=lambda n: 0.3))
    assert wins(done) == {}
    assert "tg4, Decode: no winner, llama_cpp is within the noise of torch (8 pairs)" in text(done)


def test_who_is_close_need_not_be_the_second() -> None:
    noisy = [0.05, 0.4, 0.05, 0.4, 0.4, 0.05, 0.4, 0.4]
    done = run(*launched(8, llama=lambda n: 0.1, torch=lambda n: 0.11, ort=lambda n: noisy[n]))
    assert "llama_cpp is within the noise of onnxruntime" in text(done)


def test_few_launches_name_nobody_and_say_how_many_would() -> None:
    done = run(*launched(3, llama=lambda n: 0.1, torch=lambda n: 0.9))
    assert wins(done) == {}
    assert "no winner is named after 3 turns: that takes 8 (--launches 8)" in text(done)
    assert "wins" not in text(done)


def test_a_lone_setup_is_no_contest() -> None:
    done = run(*launched(8, llama=lambda n: 0.1))
    assert wins(done) == {}
    assert "winner" not in text(done)


def with_peaks(done: Run, **gib: float) -> Run:
    def peak(result: Result) -> Measured:
        assert isinstance(result, Measured)
        own = gib[result.setup.backend] * (1 + result.launch / 1000)
        return msgspec.structs.replace(result, readings={"host_peak_bytes": own * 2**30})

    return msgspec.structs.replace(done, results=tuple(map(peak, done.results)))


def test_memory_is_won_by_the_smallest_by_two_per_cent() -> None:
    done = run(*launched(8, llama=lambda n: 0.1, torch=lambda n: 0.1), metrics=("decode_tps", "host_peak_bytes"))
    clear, tiny = with_peaks(done, llama_cpp=2.0, torch=8.0), with_peaks(done, llama_cpp=2.0, torch=2.01)
    assert wins(clear) == {"llama_cpp": ["host_peak_bytes"]}
    assert "\nPeak memory: llama_cpp wins with 0.25 x torch (8 pairs)" in text(clear)
    assert "Peak memory GiB" in text(clear)
    assert wins(tiny) == {}


def test_a_peak_is_of_the_whole_worker_in_whatever_order_tests_came() -> None:
    prompt = workload(16, 0)
    results = [
        msgspec.structs.replace(measured(work, [0.1], launch=launch), readings={"host_peak_bytes": float(peak)})
        for launch, peaks in ((0, (5e9, 7e9)), (1, (7e9, 7e9)))
        for work, peak in zip((DECODE, prompt), peaks, strict=True)
    ]
    rows = show_results.rows((run(*results, metrics=("host_peak_bytes",)),))
    peaks = [row.metrics["host_peak_bytes"] for row in rows]
    assert [(peak.low, peak.median) for peak in peaks if peak] == [(7e9, 7e9)] * 2


def test_a_launch_that_failed_makes_no_pair() -> None:
    results = [r for r in launched(8, llama=lambda n: 0.1, torch=lambda n: 0.2) if (r.setup, r.launch) != (TORCH, 3)]
    assert wins(run(*results)) == {}


def test_blocks_that_a_resumed_run_put_together_are_no_pairs() -> None:
    """All of one setup, and all of the other an hour later: nothing was measured in turns."""
    results = sorted(launched(8, llama=lambda n: 0.1, torch=lambda n: 0.2), key=lambda r: r.setup.backend)
    assert wins(run(*results)) == {}
    assert "no winner is named after 0 turns" in text(run(*results))


def test_a_slice_and_the_whole_are_two_contests() -> None:
    whole = launched(8, llama=lambda n: 0.2, torch=lambda n: 0.3)
    part = [
        msgspec.structs.replace(r, artifact=msgspec.structs.replace(r.artifact, layers=4))
        for r in launched(8, llama=lambda n: 0.02, torch=lambda n: 0.01)
    ]
    rows = show_results.rows((run(*whole, *part),))
    assert [(row.setup.backend, row.layers, bool(row.wins)) for row in rows] == [
        ("llama_cpp", None, True), ("torch", None, False), ("llama_cpp", 4, False), ("torch", 4, True),
    ]  # fmt: skip


def test_the_pairs_decide_who_is_ahead_not_the_medians() -> None:
    """Better in 11 launches by 1 %, worse in 9 by more than half: the median is fooled, the pairs are not."""
    other = [0.1 / 1.01] * 11 + [0.1 / 0.4] * 9
    assert wins(run(*launched(20, llama=lambda n: 0.1, torch=lambda n: other[n]))) == {}


def test_a_steady_drift_favours_nobody_because_turns_are_taken_in_both_orders() -> None:
    """Two equal setups on a machine that slows down by 1 % from measurement to measurement."""
    from phibench.measure import record
    from phibench.measure.tasks import Task

    setups = (LLAMA, TORCH)
    suite = Suite(name="s", question="?", metrics=LATENCY, new_tokens=(4,), launches=8)
    need = Need(weights_bytes=0, kv_bytes=0, compute_bytes=0, runtime_bytes=0, because="")
    tasks = [Task(setup=setup, suite=suite, threads=1, need=need) for setup in setups]
    empty = msgspec.structs.replace(run(), suite=suite)
    order = [(task.setup, launch) for task, _, launch in record.owed(empty, tasks)]
    rng, alarms = random.Random(2), 0
    for _ in range(50):
        results = [
            measured(DECODE, [0.1 * 1.01**place * rng.gauss(1, 0.002)], setup=setup, launch=launch)
            for place, (setup, launch) in enumerate(order)
        ]
        alarms += bool(wins(run(*results)))
    assert alarms <= 4

"""The clock: scripted sessions and a scripted clock, no time passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import fakes
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from phibench.analysis import energy
from phibench.core.nouns import Energy, Engine, Suite, Warmup, Window, Workload
from phibench.measure import timing
from phibench.meters.contract import Meters


class Scripted:
    """A session that moves its own clock: a second per prompt token, two per step."""

    def __init__(self) -> None:
        self.time, self.sampling_s, self.begun = 100.0, 0.0, 0
        self.engine = Engine(name="scripted", version="0", placement="here")

    def begin(self, workload: Workload) -> None:
        self.begun += 1
        self.time += 50  # preparation must not be timed

    def prefill(self, tokens: int) -> None:
        self.time += tokens
        self.sampling_s += 0.5

    def step(self) -> None:
        self.time += 2
        self.sampling_s += 0.5

    def unsound(self) -> str | None:
        return None

    def score(self, prompt: Sequence[int], then: Sequence[int]) -> NDArray[np.float32]:
        raise NotImplementedError

    def clock(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("prompt", "new", "arrivals"),
    [(10, 0, (10.0,)), (0, 3, (2.0, 4.0, 6.0)), (10, 3, (10.0, 12.0, 14.0)), (10, 1, (10.0,))],
)
def test_arrivals_start_when_the_work_is_handed_over(prompt: int, new: int, arrivals: tuple[float, ...]) -> None:
    session = Scripted()
    sample = timing.once(session, Workload(prompt_tokens=prompt, new_tokens=new), session.clock)
    assert sample.arrivals_s == arrivals
    assert sample.sampling_s == 0.5 * len(arrivals)


def test_what_is_done_is_shown_before_it_is_done() -> None:
    session = Scripted()
    shown: list[tuple[str, float]] = []
    timing.once(
        session,
        Workload(prompt_tokens=100, new_tokens=3),
        session.clock,
        lambda what: shown.append((what, session.time)),
    )
    assert [what for what, _ in shown] == ["preparing", "prefill", "decode"]
    assert [at for _, at in shown] == sorted(at for _, at in shown)
    assert shown[1][1] < shown[2][1]  # the prompt was computed between them


def run(monkeypatch: pytest.MonkeyPatch, took: Callable[[int], float], rule: Warmup, repetitions: int = 5) -> int:
    """Warm-up repetitions that a session needs whose n-th repetition takes ``took(n)`` seconds."""
    session = Scripted()
    monkeypatch.setattr(session, "step", lambda: setattr(session, "time", session.time + took(session.begun)))
    monkeypatch.setattr(timing.once, "__defaults__", (session.clock, lambda _: None))
    suite = Suite(name="s", question="?", metrics=(), new_tokens=(1,), repetitions=repetitions, warmup=rule)
    taken = timing.measure(session, suite.workloads()[0], suite, lambda *_: None)
    assert len(taken.samples) == repetitions
    assert session.begun == repetitions + len(taken.warmup_s)
    return len(taken.warmup_s)


def test_warm_up_ends_when_three_windows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda n: 2.0 if n == 1 else 1.0, Warmup()) == 4


def test_warm_up_is_capped_by_windows_and_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, float, Warmup(max_windows=5, max_s=1e9)) == 5
    assert run(monkeypatch, lambda n: 13.0, Warmup()) == 1
    assert run(monkeypatch, lambda n: 1.0, Warmup(max_windows=0)) == 0


def test_progress_counts_repetitions() -> None:
    session = Scripted()
    seen: list[tuple[str, int, int]] = []
    suite = Suite(name="s", question="?", metrics=(), new_tokens=(1,), repetitions=2, warmup=Warmup(max_windows=1))
    timing.measure(session, suite.workloads()[0], suite, lambda *event: seen.append(event))
    assert seen == [("warm-up", 0, 1), ("measuring", 0, 2), ("measuring", 1, 2), ("measuring", 2, 2)]


# ------------------------------------------------------------------------------------------------ windows


class Counter:
    """A meter that logs when its windows begin and end, by the session's clock."""

    def __init__(self, session: Scripted, min_window_s: float = 0.0) -> None:
        self._session, self.min_window_s = session, min_window_s
        self.log: list[tuple[str, float]] = []

    def begin(self) -> None:
        self.log.append(("begin", self._session.time))

    def end(self) -> tuple[Energy, ...]:
        self.log.append(("end", self._session.time))
        spent = self.log[-1][1] - self.log[-2][1]
        return (Energy(name="scripted", scope="soc", method="counter", joules=3 * spent, seconds=spent),)


def windows(
    monkeypatch: pytest.MonkeyPatch, suite: Suite, min_window_s: float = 0.0, report: timing.Report = lambda *_: None
) -> tuple[timing.Timing, Counter]:
    session = Scripted()
    meter = Counter(session, min_window_s)

    class Clock:
        perf_counter = staticmethod(session.clock)

        @staticmethod
        def sleep(seconds: float) -> None:
            session.time += seconds

    monkeypatch.setattr(timing, "time", Clock)
    monkeypatch.setattr(timing.once, "__defaults__", (session.clock, lambda _: None))
    return timing.measure(session, suite.workloads()[0], suite, report, Meters(energy=meter)), meter


def asked(**changes: Any) -> Suite:
    plain = Suite(name="s", question="?", metrics=(), new_tokens=(5,), repetitions=2, warmup=Warmup(max_windows=0))
    return msgspec.structs.replace(plain, **changes)


def test_windows_are_filled_with_whole_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, _ = windows(monkeypatch, asked(window_s=130.0))  # a test takes 50 s to prepare and 10 s to run
    assert [(w.kind, w.seconds, w.tests) for w in taken.windows] == [("work", 180.0, 3), ("work", 180.0, 3)]
    assert [s.start_s for s in taken.samples] == [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]
    assert {s.arrivals_s for s in taken.samples} == {(2.0, 4.0, 6.0, 8.0, 10.0)}


def test_a_test_longer_than_the_window_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, _ = windows(monkeypatch, asked(window_s=1.0))
    assert [w.tests for w in taken.windows] == [1, 1]


def test_of_many_tests_in_a_window_the_samples_of_some_are_kept_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast model on a fast machine: 100,000 tokens a second wrote a run file that was too large to be read."""
    monkeypatch.setattr(timing, "MOST_ARRIVALS", 20)  # four samples of five tokens
    taken, _ = windows(monkeypatch, asked(window_s=1000.0, repetitions=1))
    (window,) = taken.windows
    assert (window.tests, window.ran, window.done) == (3, 17, 17)
    assert [s.start_s for s in taken.samples] == [0.0, 480.0, 960.0]
    measured = msgspec.structs.replace(fakes.measured(asked().workloads()[0]), samples=taken.samples,
                                       windows=taken.windows)  # fmt: skip
    ((_, busy),) = energy.work_windows(measured)
    assert busy == pytest.approx(10 / 60)
    (alone,) = windows(monkeypatch, asked(window_s=1.0, repetitions=1, new_tokens=(50,)))[0].windows
    assert (alone.tests, alone.ran) == (1, None)  # a test that is longer alone is kept whole


def test_joules_are_of_all_tests_of_a_window_not_of_the_kept_ones() -> None:
    work = fakes.workload(0, 10)
    spent = Energy(name="m", scope="soc", method="counter", joules=80.0, seconds=8.0)
    window = Window(kind="work", seconds=8.0, tests=2, ran=8, energy=(spent,))
    seen = msgspec.structs.replace(fakes.measured(work, steps_s=(0.1, 0.1)), windows=(window,))
    assert energy.values("decode_j_per_token", seen) == [pytest.approx(1.0)]


def test_rests_lie_around_the_work_and_each_window_has_its_own_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, meter = windows(monkeypatch, asked(window_s=130.0, idle_s=15.0))
    assert [w.kind for w in taken.windows] == ["idle", "work", "work", "idle"]
    assert [w.energy[0].joules for w in taken.windows] == [45.0, 540.0, 540.0, 45.0]
    assert [name for name, _ in meter.log] == ["begin", "end"] * 4


def test_a_slow_counter_makes_windows_longer_but_not_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for short, tests in ((False, [9, 9]), (True, [1, 1])):
        taken, _ = windows(monkeypatch, asked(window_s=1.0, short=short), min_window_s=500.0)
        assert [w.tests for w in taken.windows] == tests


def test_progress_of_windows_goes_in_tenths_with_a_sign_of_life_between(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int]] = []
    windows(monkeypatch, asked(window_s=6000.0), report=lambda *event: seen.append(event))
    assert list(dict.fromkeys(seen)) == [("measuring", done, 10) for done in range(11)]
    assert len(seen) == 201  # before each of 200 tests of a minute, and at the end


def test_a_shorter_warm_up_has_the_room_of_the_test() -> None:
    session = Scripted()
    begun: list[Workload] = []
    session.begin = begun.append  # type: ignore[method-assign, assignment]
    rule = Warmup(windows=1, max_windows=1, max_prompt_tokens=4)
    suite = Suite(name="s", question="?", metrics=(), prompt_tokens=(100,), repetitions=1, warmup=rule)
    timing.measure(session, suite.workloads()[0], suite, lambda *_: None)
    assert [(w.prompt_tokens, w.context) for w in begun] == [(4, 100), (100, 100)]

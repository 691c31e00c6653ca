"""The clock: scripted sessions and a scripted clock, no time passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from phibench import measure
from phibench.nouns import Engine, Suite, Warmup, Workload


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
    sample = measure.once(session, Workload(prompt_tokens=prompt, new_tokens=new), session.clock)
    assert sample.arrivals_s == arrivals
    assert sample.sampling_s == 0.5 * len(arrivals)


def run(monkeypatch: pytest.MonkeyPatch, took: Callable[[int], float], rule: Warmup, repetitions: int = 5) -> int:
    """Warm-up repetitions that a session needs whose n-th repetition takes ``took(n)`` seconds."""
    session = Scripted()
    monkeypatch.setattr(session, "step", lambda: setattr(session, "time", session.time + took(session.begun)))
    monkeypatch.setattr(measure.once, "__defaults__", (session.clock,))
    suite = Suite(name="s", question="?", metrics=(), new_tokens=(1,), repetitions=repetitions, warmup=rule)
    taken = measure.measure(session, suite.workloads()[0], suite, lambda *_: None)
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
    measure.measure(session, suite.workloads()[0], suite, lambda *event: seen.append(event))
    assert seen == [("warm-up", 0, 1), ("measuring", 0, 2), ("measuring", 1, 2), ("measuring", 2, 2)]

"""One workload on an open session -> raw samples. The clock is here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from phibench.core.errors import FAILED, WrongNumbersError
from phibench.core.nouns import Noun, Sample, Stage, Suite, Warmup, Window, Workload
from phibench.meters.contract import UNWATCHED, Meters

if TYPE_CHECKING:
    from phibench.backends.contract import Session

Show = Callable[[str], None]  # of ends.PHASES: what is being done
Report = Callable[[Stage, int, int], None]  # stage, done, in all: repetitions, or tenths of all windows
Take = Callable[[Workload], Sample]  # one repetition
_TENTHS = 10
_SIGN_S = 10.0  # of life, at least this often, between tests
MOST_ARRIVALS = 1 << 16  # kept of a window, 2 MB in the file: ten minutes of decode at 100 tok/s


class Timing(Noun, frozen=True, kw_only=True):
    """``warmup_s``: seconds that each warm-up repetition took."""

    samples: tuple[Sample, ...]
    warmup_s: tuple[float, ...]
    windows: tuple[Window, ...] = ()


def measure(
    session: Session, workload: Workload, suite: Suite, report: Report, watch: Meters = UNWATCHED,
    show: Show = lambda _: None,
) -> Timing:  # fmt: skip
    """Warm up, then repeat: single tests, or windows that are filled with them, between two rests.

    Raises WrongNumbersError when the last logits cannot be an answer.
    """

    def take(work: Workload) -> Sample:
        return once(session, work, show=show)

    warm = _warm_up(take, workload, suite.warmup, lambda n: report("warm-up", n, suite.warmup.max_windows))
    samples: list[Sample] = []
    windows: tuple[Window, ...] = ()
    if suite.window_s:
        windows = _windows(take, workload, suite, report, watch, samples)
    else:
        for repetition in range(suite.repetitions):
            report("measuring", repetition, suite.repetitions)
            samples.append(take(workload))
        report("measuring", suite.repetitions, suite.repetitions)
    if wrong := session.unsound():
        raise WrongNumbersError(wrong, FAILED)
    show("finishing")
    return Timing(samples=tuple(samples), warmup_s=warm, windows=windows)


def once(
    session: Session, workload: Workload, clock: Callable[[], float] = time.perf_counter, show: Show = lambda _: None
) -> Sample:
    """One repetition, the preparation not timed. ``show`` costs a store into memory, once before each part."""
    show("preparing")
    session.begin(workload)
    arrivals = []
    before = session.sampling_s
    show("prefill" if workload.prompt_tokens else "decode")
    start = clock()
    if workload.prompt_tokens:
        session.prefill(workload.prompt_tokens)
        arrivals.append(clock() - start)
        show("decode" if workload.new_tokens > 1 else "prefill")
    while len(arrivals) < workload.new_tokens:
        session.step()
        arrivals.append(clock() - start)
    after = session.sampling_s
    sampling = None if before is None or after is None else after - before
    return Sample(arrivals_s=tuple(arrivals), sampling_s=sampling)


def _windows(
    take: Take, workload: Workload, suite: Suite, report: Report, watch: Meters, samples: list[Sample]
) -> tuple[Window, ...]:
    """Each window is filled with tests until its time has passed; none is cut. Their samples, or some of them, evenly
    spread, where all would be too many, go into ``samples``."""
    min_window_s = 0.0 if suite.short else watch.min_window_s
    length_s, rest_s = max(suite.window_s, min_window_s), max(suite.idle_s, min_window_s)
    windows = [_rest(rest_s, watch, lambda: report("resting", 0, 2))] if suite.idle_s else []
    began = said = time.perf_counter()
    told = -1
    for number in range(suite.repetitions):
        watch.begin()
        start, kept = time.perf_counter(), _Kept()
        while not (passed := time.perf_counter() - start) or passed < length_s:
            done = int(_TENTHS * (number + passed / length_s) / suite.repetitions)
            if done > told or time.perf_counter() - said >= _SIGN_S:
                report("measuring", told := done, _TENTHS)
                said = time.perf_counter()
            at, gauges = time.perf_counter() - began, watch.gauges()
            kept.add(msgspec.structs.replace(take(workload), start_s=at, gauges=gauges))
        seconds, ran = time.perf_counter() - start, kept.ran if kept.every > 1 else None
        windows.append(Window(kind="work", seconds=seconds, tests=len(kept.samples), ran=ran, energy=watch.end()))
        samples += kept.samples
    report("measuring", _TENTHS, _TENTHS)
    if suite.idle_s:
        windows.append(_rest(rest_s, watch, lambda: report("resting", 1, 2)))
    return tuple(windows)


class _Kept:
    """Samples of one window: of every test, of every second one, of every fourth, ..., so that they stay few."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.ran, self.every = 0, 1

    def add(self, sample: Sample) -> None:
        if self.ran % self.every == 0:
            self.samples.append(sample)
        self.ran += 1
        if len(self.samples) > 1 and len(self.samples) * len(sample.arrivals_s) > MOST_ARRIVALS:
            self.samples, self.every = self.samples[::2], 2 * self.every


def _rest(seconds: float, watch: Meters, report: Callable[[], None]) -> Window:
    """The model is open and nothing runs."""
    report()
    watch.begin()
    start = time.perf_counter()
    time.sleep(seconds)
    passed = time.perf_counter() - start
    return Window(kind="idle", seconds=passed, energy=watch.end())


def _warm_up(take: Take, workload: Workload, rule: Warmup, report: Callable[[int], None]) -> tuple[float, ...]:
    """Until the last ``windows`` repetitions agree within ``tolerance``, or a cap is reached."""
    took: list[float] = []
    if rule.max_prompt_tokens is not None:
        shorter = min(workload.prompt_tokens, rule.max_prompt_tokens)
        workload = msgspec.structs.replace(workload, prompt_tokens=shorter, room=workload.context)
    while len(took) < rule.max_windows and sum(took) < rule.max_s and not _steady(took, rule):
        report(len(took))
        took.append(take(workload).arrivals_s[-1])
    return tuple(took)


def _steady(took: list[float], rule: Warmup) -> bool:
    last = took[-rule.windows :]
    return len(last) == rule.windows and max(last) <= min(last) * (1 + rule.tolerance)

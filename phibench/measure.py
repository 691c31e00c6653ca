"""One workload on an open session -> raw samples. The clock is here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from phibench.nouns import Sample, Suite, Warmup, Workload

if TYPE_CHECKING:
    from phibench.backends import Session

Report = Callable[[str, int, int], None]  # stage, repetitions done, repetitions in all


def measure(
    session: Session, workload: Workload, suite: Suite, report: Report
) -> tuple[tuple[Sample, ...], tuple[float, ...]]:
    """Warm up, then repeat. Returns the samples, and the seconds that each warm-up repetition took."""
    warm = _warm_up(session, workload, suite.warmup, lambda n: report("warm-up", n, suite.warmup.max_windows))
    samples = []
    for repetition in range(suite.repetitions):
        report("measuring", repetition, suite.repetitions)
        samples.append(once(session, workload))
    report("measuring", suite.repetitions, suite.repetitions)
    return tuple(samples), warm


def once(session: Session, workload: Workload, clock: Callable[[], float] = time.perf_counter) -> Sample:
    """One repetition, the preparation not timed."""
    session.begin(workload)
    arrivals = []
    before = session.sampling_s
    start = clock()
    if workload.prompt_tokens:
        session.prefill(workload.prompt_tokens)
        arrivals.append(clock() - start)
    while len(arrivals) < workload.new_tokens:
        session.step()
        arrivals.append(clock() - start)
    after = session.sampling_s
    sampling = None if before is None or after is None else after - before
    return Sample(arrivals_s=tuple(arrivals), sampling_s=sampling)


def _warm_up(session: Session, workload: Workload, rule: Warmup, report: Callable[[int], None]) -> tuple[float, ...]:
    """Until the last ``windows`` repetitions agree within ``tolerance``, or a cap is reached."""
    took: list[float] = []
    if rule.max_prompt_tokens is not None:
        shorter = min(workload.prompt_tokens, rule.max_prompt_tokens)
        workload = msgspec.structs.replace(workload, prompt_tokens=shorter)
    while len(took) < rule.max_windows and sum(took) < rule.max_s and not _steady(took, rule):
        report(len(took))
        took.append(once(session, workload).arrivals_s[-1])
    return tuple(took)


def _steady(took: list[float], rule: Warmup) -> bool:
    last = took[-rule.windows :]
    return len(last) == rule.windows and max(last) <= min(last) * (1 + rule.tolerance)

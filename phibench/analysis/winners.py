"""Which setup of a run is better at a test, metric by metric: only where the difference is outside the noise.

Setups take turns, launch by launch, so their n-th launches make a pair, if nothing of another launch was measured
between them. A winner must beat each other setup in the exact paired test (``stats.paired_p``) at ``stats.ALPHA``,
which needs ``stats.MIN_PAIRS`` pairs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from phibench.analysis import energy, sustained
from phibench.core import stats
from phibench.core.metrics import METRICS, values
from phibench.core.nouns import Measured, Noun, Result, Run, Setup, Workload

Contest = tuple[Workload, int | None, str]  # the test, layers of a slice, kind of weights: who shares them compares
JUDGED = ("prefill_tps", "decode_tps", "ttft_s", "host_peak_bytes")  # the others follow from these
_LEAST = 1.02  # of memory, which is nearly the same in each launch: less is a difference that nobody would notice


class Verdict(Noun, frozen=True, kw_only=True):
    """Of one test and metric. ``close``: those that the best does not beat; ``pairs``: the fewest with any other."""

    best: Setup
    second: Setup
    ratio: float  # of the best to the second
    pairs: int
    close: tuple[Setup, ...]

    @property
    def won(self) -> bool:
        return self.pairs >= stats.MIN_PAIRS and not self.close


def contest(result: Result) -> Contest | None:
    artifact = result.artifact
    return (result.workload, artifact.layers, artifact.weights) if artifact else None


def measured(name: str, result: Measured) -> list[float]:
    """The metric of a result: of every repetition, or the one that was read."""
    if name in result.readings:
        return [result.readings[name]]
    if METRICS[name].meter == "energy":
        return energy.values(name, result)
    if METRICS[name].meter == "window":
        return sustained.values(result)
    return values(name, result.workload, result.samples)


def with_peaks(run: Run) -> Run:
    """A worker's peak is that of all its tests, whichever came first: each gets the highest that was read.

    Where every test has a worker of its own it is left as it is.
    """
    if run.suite.fresh:
        return run
    peaks: dict[Any, float] = defaultdict(float)
    for r in run.results:
        if isinstance(r, Measured) and "host_peak_bytes" in r.readings:
            peaks[_worker(r)] = max(peaks[_worker(r)], r.readings["host_peak_bytes"])
    whole = (
        msgspec.structs.replace(r, readings={**r.readings, "host_peak_bytes": peaks[_worker(r)]})
        if isinstance(r, Measured) and _worker(r) in peaks
        else r
        for r in run.results
    )
    return msgspec.structs.replace(run, results=tuple(whole))


def _worker(result: Measured) -> tuple[Any, ...]:
    return result.setup, result.launch, result.artifact.layers, result.artifact.weights


def verdicts(run: Run) -> dict[Contest, dict[str, Verdict]]:
    """By test and metric, where two or more setups know it. ``run`` with its peaks (:func:`with_peaks`)."""
    found: dict[Contest, dict[str, Verdict]] = {}
    places: dict[Contest, dict[Setup, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, result in enumerate(run.results):
        if isinstance(result, Measured) and (key := contest(result)):
            places[key][result.setup].append(place)
    for key, setups in places.items():
        for name in (n for n in run.suite.metrics if n in METRICS):
            known = {setup: _launches(run, name, at) for setup, at in setups.items()}
            if verdict := _verdict(run, name, {setup: seen for setup, seen in known.items() if seen}):
                found.setdefault(key, {})[name] = verdict
    return found


def _launches(run: Run, name: str, places: Sequence[int]) -> dict[int, tuple[int, float]]:
    """launch -> (place in the run, median of the metric), of those that know it."""
    found = {}
    for place in places:
        result = run.results[place]
        assert isinstance(result, Measured)
        if known := measured(name, result):
            found[result.launch] = place, stats.median(known)
    return found


def _verdict(run: Run, name: str, known: Mapping[Setup, Mapping[int, tuple[int, float]]]) -> Verdict | None:
    if len(known) < 2:
        return None
    sign = 1 if METRICS[name].better == "higher" else -1
    medians = {setup: stats.median([value for _, value in seen.values()]) for setup, seen in known.items()}
    best, second, *_ = sorted(medians, key=lambda setup: sign * medians[setup], reverse=True)
    pairs = {setup: _pairs(run, known[best], seen) for setup, seen in known.items() if setup != best}
    close = tuple(setup for setup, both in pairs.items() if not beats(name, both))
    return Verdict(best=best, second=second, ratio=medians[best] / medians[second] if medians[second] else math.inf,
                   pairs=min(len(both) for both in pairs.values()), close=close)  # fmt: skip


def _pairs(
    run: Run, one: Mapping[int, tuple[int, float]], other: Mapping[int, tuple[int, float]]
) -> list[tuple[float, float]]:
    """Values of the launches that both have and that were taken in one turn."""
    found = []
    for launch in sorted(one.keys() & other.keys()):
        (here, value), (there, against) = one[launch], other[launch]
        between = run.results[min(here, there) : max(here, there)]
        if all(result.launch == launch for result in between) and min(value, against) > 0:
            found.append((value, against))
    return found


def beats(name: str, pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the first of each pair is better, outside the noise; the pairs themselves say who is ahead."""
    if len(pairs) < stats.MIN_PAIRS:
        return False
    one, other = zip(*pairs, strict=True)
    sign = 1 if METRICS[name].better == "higher" else -1
    ahead = sign * math.fsum(math.log(a / b) for a, b in pairs) / len(pairs)
    least = math.log(_LEAST) if METRICS[name].unit == "B" else 0.0
    return ahead > least and stats.paired_p(one, other) < stats.ALPHA


def lines(key: Contest, found: Mapping[str, Verdict]) -> list[str]:
    """What people are told of one test."""
    few = min(verdict.pairs for verdict in found.values())
    if few < stats.MIN_PAIRS:
        turns = f"{few} turn{'' if few == 1 else 's'}"
        return [f"no winner is named after {turns}: that takes {stats.MIN_PAIRS} (--launches {stats.MIN_PAIRS})"]
    told = []
    for name in (n for n in JUDGED if n in found):
        test = "" if name == "host_peak_bytes" else f"{key[0]}, "  # of the worker, not of a test
        told.append(f"{test}{METRICS[name].title}: {_line(found[name])}")
    return told


def _line(verdict: Verdict) -> str:
    names = _names([verdict.best, verdict.second, *verdict.close])
    best = names[verdict.best]
    if verdict.won:
        return f"{best} wins with {verdict.ratio:.2f} x {names[verdict.second]} ({verdict.pairs} pairs)"
    others = " and ".join(names[setup] for setup in verdict.close)
    return f"no winner, {best} is within the noise of {others} ({verdict.pairs} pairs)"


def _names(setups: Sequence[Setup]) -> dict[Setup, str]:
    """The backend where that tells them apart, else the whole setup."""
    different = dict.fromkeys(setups)
    backends = {setup.backend for setup in different}
    return {setup: setup.backend if len(backends) == len(different) else str(setup) for setup in different}
